package escape

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/corral-run/corral/internal/proctree"
	"golang.org/x/sys/unix"
)

var _ = check("scrubbed", func(tr *tree) {
	renamed := tr.checkOrphan("renamed")
	if env := tr.read(renamed.PID, "environ"); env != "" {
		tr.Errorf("its environment is %q", env)
	}
	if args := strings.TrimRight(tr.read(renamed.PID, "cmdline"), "\x00"); args != kernelThread || renamed.Name != kernelThread {
		tr.Errorf("its name is %q, its arguments are %q", renamed.Name, args)
	}
	if dir := tr.proc(renamed, "cwd"); dir != "/" {
		tr.Errorf("it is in %s", dir)
	}
	if theirs, ours := tr.proc(renamed, "fd/4"), tr.proc(tr.row("leader"), "fd/4"); theirs != ours {
		tr.Errorf("it has %s, the oracle is %s", theirs, ours)
	}
	tr.leave("renamed")
	tr.signal("renamed", syscall.SIGTERM)
	tr.expect()
})

var _ = check("subreaper", func(tr *tree) {
	reaper, orphan := tr.row("reaper"), tr.checkOrphan("orphan")
	if orphan.PPID != reaper.PID {
		tr.Errorf("not adopted by %d: %+v", reaper.PID, orphan)
	}
	tr.sendPolite("reaper")
	tr.leave("reaper", "orphan")
	tr.signal("orphan", syscall.SIGTERM)
	tr.expect("reaper")
	if row := tr.row("orphan"); row.State != proctree.Zombie {
		tr.Errorf("in state %c", row.State)
	}
	if row := tr.row("reaper"); !row.Alive() {
		tr.Error("the reaper has ended")
	}
})

var _ = check("own-ns", func(tr *tree) {
	leader, init, child := tr.row("leader"), tr.row("ns-init"), tr.row("ns-child")
	if init.PPID != leader.PID || child.PPID != init.PID {
		tr.Errorf("children %+v of %d, %+v of %d", init, leader.PID, child, init.PID)
	}
	outside := len(tr.status(leader.PID, "NSpid"))
	for _, row := range []proctree.Process{init, child} {
		pids := tr.status(row.PID, "NSpid")
		if len(pids) != outside+1 || (pids[outside] == "1") != (row.PID == init.PID) {
			tr.Errorf("%d is %v, the leader is in %d PID namespaces", row.PID, pids, outside)
		}
		for _, ns := range []string{"ns/user", "ns/pid"} {
			theirs := tr.proc(row, ns)
			if theirs != tr.proc(init, ns) || theirs == tr.proc(leader, ns) {
				tr.Errorf("%d is in %s", row.PID, theirs)
			}
		}
		if uid := strconv.Itoa(os.Getuid()); tr.status(row.PID, "Uid")[0] != uid {
			tr.Errorf("%d is not of user %s", row.PID, uid)
		}
	}
	tr.sendPolite("ns-init")
	tr.leave("ns-init", "ns-child")
	tr.signal("ns-child", syscall.SIGTERM)
	tr.expect("ns-init")
	tr.signal("ns-init", syscall.SIGKILL)
	tr.expect()
})

var _ = check("traced", func(tr *tree) {
	tracer, tracee := tr.row("tracer"), tr.row("tracee")
	by := func() string { return tr.status(tracee.PID, "TracerPid")[0] }
	// What is there is the thread.
	if tids, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/%s", tracer.PID, by())); err != nil || len(tids) != 1 {
		tr.Errorf("traced by %s, not by %d", by(), tracer.PID)
	}
	if tracee.PPID != tracer.PID || tracee.State != proctree.Traced || tracee.Threads != 1 {
		tr.Errorf("%+v", tracee)
	}
	tr.signal("tracee", syscall.SIGCONT)
	if row := tr.row("tracee"); row.State != proctree.Traced {
		tr.Errorf("in state %c after SIGCONT", row.State)
	}
	tr.leave("tracer", "tracee")
	tr.signal("tracer", syscall.SIGTERM)
	tr.expect("tracee")
	if by() != "0" || tr.row("tracee").State == proctree.Traced {
		tr.Errorf("traced by %s in state %c", by(), tr.row("tracee").State)
	}
	tr.signal("tracee", syscall.SIGTERM)
	tr.expect()
})

var _ = check("no-pdeathsig", func(tr *tree) {
	leader, undying := tr.row("leader"), tr.row("undying")
	if undying.SID != undying.PID || undying.PGID != undying.PID {
		tr.Errorf("does not lead a session: %+v", undying)
	}
	open, oracle := tr.pipes(undying.PID), tr.proc(leader, "fd/4")
	if len(open) != 1 || open["4"] != oracle {
		tr.Errorf("these are open: %v, the oracle is %s", open, oracle)
	}
	tr.leave("undying")
})

var _ = check("undead", func(tr *tree) {
	row := tr.row("zombie")
	if row.State != proctree.Zombie || row.Threads < 2 || row.SID != row.PID {
		tr.Errorf("in state %c with %d threads, in session %d", row.State, row.Threads, row.SID)
	}
	tr.sendPolite("zombie")
	tr.leave("zombie")
	tr.signal("zombie", syscall.SIGKILL)
	tr.expect()
})

// TestDeathSignal: of two leaders that are to get a signal when the thread that
// started them ends, one dies of it, and the one that has cleared it does not.
func TestDeathSignal(t *testing.T) {
	probes := []*Probe{NewProbe(t, find(t, "plain")), NewProbe(t, find(t, "no-pdeathsig"))}
	var trees []*tree
	started, end := make(chan struct{}), make(chan struct{})
	endThread := sync.OnceFunc(func() { close(end) })
	t.Cleanup(endThread)
	var run func()
	run = func() {
		runtime.LockOSThread() // not unlocked, so that the thread ends as well
		if unix.Gettid() == os.Getpid() {
			go run() // but for the main thread
			<-end
			runtime.UnlockOSThread()
			return
		}
		func() {
			defer close(started)
			for _, p := range probes {
				trees = append(trees, launch(t, p, func(sys *syscall.SysProcAttr) { sys.Pdeathsig = syscall.SIGKILL }))
				p.Started()
			}
		}()
		<-end
	}
	go run()
	<-started
	if len(trees) < len(probes) {
		return // it has failed
	}
	for _, tr := range trees {
		tr.ready = tr.Ready(tr.ctx)
	}
	endThread()
	if status := trees[0].waitLeader(); status.Signal() != syscall.SIGKILL {
		t.Errorf("the leader of plain ended with status %#x", status)
	}
	trees[1].leave("undying")
}
