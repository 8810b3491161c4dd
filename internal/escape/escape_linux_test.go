package escape

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/corral-run/corral/internal/proctree"
)

func TestMain(m *testing.M) {
	Register("test-owner", func(args []string) {
		leader := exec.Command(args[0], args[1:]...)
		leader.ExtraFiles = Inherited()
		if err := leader.Start(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(failed)
		}
		leader.Wait()
	})
	Main()
	code := m.Run()
	if code == 0 {
		if err := CheckUsed(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

// tree is a child that runs.
type tree struct {
	*testing.T
	*Probe
	ctx    context.Context
	leader *exec.Cmd
	ended  chan struct{} // closed when the leader has been reaped
	stdout *os.File      // the leader's standard output is a pipe that ends here
	ready  []Member
}

func timeout(t *testing.T, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	t.Cleanup(cancel)
	return ctx
}

// launch starts the leader of p as os/exec does, in a group of its own, or what
// options make of that.
func launch(t *testing.T, p *Probe, options ...func(*syscall.SysProcAttr)) *tree {
	t.Helper()
	path, args, files := p.Command()
	tr := &tree{T: t, Probe: p, ctx: timeout(t, 30*time.Second), ended: make(chan struct{})}
	tr.leader = exec.Command(path, args...)
	tr.leader.ExtraFiles = files
	tr.leader.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	for _, set := range options {
		set(tr.leader.SysProcAttr)
	}
	out, stdout, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	tr.leader.Stdout, tr.stdout = stdout, out
	t.Cleanup(func() { out.Close() })
	err = tr.leader.Start()
	stdout.Close()
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		tr.leader.Wait()
		close(tr.ended)
	}()
	return tr
}

func start(t *testing.T, c Child) *tree {
	t.Helper()
	began := time.Now()
	tr := launch(t, NewProbe(t, c))
	tr.Started()
	tr.ready = tr.Ready(tr.ctx)
	t.Logf("%d members in %v", len(tr.ready), time.Since(began).Round(time.Millisecond))
	return tr
}

// all returns the members that were ready in a role.
func (tr *tree) all(role string) []Member {
	var members []Member
	for _, m := range tr.ready {
		if m.Role == role {
			members = append(members, m)
		}
	}
	return members
}

// row returns the row of the only member that was ready in a role.
func (tr *tree) row(role string) proctree.Process {
	tr.Helper()
	members := tr.all(role)
	if len(members) != 1 {
		tr.Fatalf("%d of %s, want 1", len(members), role)
	}
	row, err := proctree.Lookup(members[0].PID)
	if err != nil {
		tr.Fatal(err)
	}
	if row.ID != members[0].ID {
		tr.Fatalf("%v has become %v", members[0], row.ID)
	}
	return row
}

// signal sends sig to the only member that was ready in a role.
func (tr *tree) signal(role string, sig syscall.Signal) {
	tr.Helper()
	h, err := proctree.Open(tr.row(role).ID)
	if err != nil {
		tr.Fatal(err)
	}
	defer h.Close()
	if err := h.Signal(sig); err != nil {
		tr.Fatal(err)
	}
}

// waitLeader waits until the leader has been reaped.
func (tr *tree) waitLeader() syscall.WaitStatus {
	tr.Helper()
	select {
	case <-tr.ended:
	case <-tr.ctx.Done():
		tr.Fatal("the leader does not end")
	}
	return tr.leader.ProcessState.Sys().(syscall.WaitStatus)
}

// leave releases the leader, and lets it leave the survivors.
func (tr *tree) leave(survivors ...string) {
	tr.Helper()
	tr.Release()
	if status := tr.waitLeader(); status.ExitStatus() != 0 {
		tr.Errorf("the leader ended with status %#x", status)
	}
	tr.expect(survivors...)
}

func (tr *tree) expect(survivors ...string) {
	tr.Helper()
	if err := tr.Gone(tr.ctx, survivors...); err != nil {
		tr.Error(err)
	}
}

// next waits until a member other than the old ones is reported in a role.
func (tr *tree) next(role string, old ...Member) Member {
	tr.Helper()
	for {
		members, err := tr.known()
		if err != nil {
			tr.Fatal(err)
		}
		for _, m := range members {
			if m.Role == role && !slices.Contains(old, m) {
				return m
			}
		}
		select {
		case <-tr.news:
		case <-tr.ctx.Done():
			tr.Fatalf("there is no further %s", role)
		}
	}
}

// proc returns what a link in /proc/PID points at.
func (tr *tree) proc(row proctree.Process, name string) string {
	tr.Helper()
	target, err := os.Readlink(filepath.Join("/proc", strconv.Itoa(row.PID), name))
	if err != nil {
		tr.Fatal(err)
	}
	return target
}

// read returns the content of a file in /proc/PID.
func (tr *tree) read(pid int, name string) string {
	tr.Helper()
	content, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), name))
	if err != nil {
		tr.Fatal(err)
	}
	return string(content)
}

// status returns the values of a line in /proc/PID/status.
func (tr *tree) status(pid int, name string) []string {
	tr.Helper()
	_, after, ok := strings.Cut(tr.read(pid, "status"), "\n"+name+":")
	if !ok {
		tr.Fatalf("no %s", name)
	}
	line, _, _ := strings.Cut(after, "\n")
	return strings.Fields(line)
}

// pipes returns the pipes that a process has open, by descriptor, and
// /dev/null.
func (tr *tree) pipes(pid int) map[string]string {
	tr.Helper()
	fds := fmt.Sprintf("/proc/%d/fd", pid)
	open, err := os.ReadDir(fds)
	if err != nil {
		tr.Fatal(err)
	}
	pipes := make(map[string]string)
	for _, fd := range open {
		// sleep may be reading its libraries.
		target, err := os.Readlink(filepath.Join(fds, fd.Name()))
		if err == nil && (strings.HasPrefix(target, "pipe:") || target == os.DevNull) {
			pipes[fd.Name()] = target
		}
	}
	return pipes
}

// ignores reports whether a member ignores sig.
func (tr *tree) ignores(m Member, sig syscall.Signal) bool {
	tr.Helper()
	return tr.inSet(m.PID, "SigIgn", sig)
}

// inSet reports whether sig is in one of the sets of /proc/PID/status.
func (tr *tree) inSet(pid int, set string, sig syscall.Signal) bool {
	tr.Helper()
	bits, err := strconv.ParseUint(tr.status(pid, set)[0], 16, 64)
	if err != nil {
		tr.Fatal(err)
	}
	return bits&(1<<(sig-1)) != 0
}

// impolite lets the only member that was ready in a role get all polite
// signals.
func (tr *tree) impolite(role string) {
	tr.Helper()
	for _, sig := range polite {
		tr.signal(role, sig.(syscall.Signal))
	}
}

// orphan checks that a member is in another session than the leader, as one that
// does not lead it, and that neither is its parent.
func (tr *tree) orphan(role string) proctree.Process {
	tr.Helper()
	leader, row := tr.row("leader"), tr.row(role)
	if row.SID == leader.SID || row.SID == row.PID || row.PGID != row.SID {
		tr.Errorf("not an ordinary member of another session: %+v", row)
	}
	if row.PPID == leader.PID || row.PPID == row.SID {
		tr.Errorf("not an orphan: %+v", row)
	}
	return row
}

// group returns the control group, of version 2, of a process.
func (tr *tree) group(pid int) string {
	tr.Helper()
	_, after, ok := strings.Cut("\n"+tr.read(pid, "cgroup"), "\n0::")
	if !ok {
		tr.Fatal("no control group of version 2")
	}
	group, _, _ := strings.Cut(after, "\n")
	return group
}

// checks say of each child whether it is what its Doc claims.
var checks = map[string]func(*tree){
	"plain": func(tr *tree) {
		leader, child := tr.row("leader"), tr.row("child")
		if child.PPID != leader.PID || child.PGID != leader.PID || child.SID != leader.SID {
			tr.Errorf("not in the leader's group and session: %+v", child)
		}
		tr.leave("child")
		tr.signal("child", syscall.SIGTERM)
		tr.expect()
	},
	"ignore-term": func(tr *tree) {
		if n := len(tr.all("ignorer")); n != ignorers {
			tr.Errorf("%d ignorers, want %d", n, ignorers)
		}
		for _, m := range tr.all("ignorer") {
			for _, sig := range polite {
				if !tr.ignores(m, sig.(syscall.Signal)) {
					tr.Errorf("%v does not ignore %v", m, sig)
				}
			}
		}
		tr.Release()
		tr.waitLeader()
		tr.expect("ignorer")
		if n := len(tr.Survivors()); n != ignorers {
			tr.Errorf("%d ignorers are left, want %d", n, ignorers)
		}
	},
	"setsid": func(tr *tree) {
		leader, session := tr.row("leader"), tr.row("session")
		if session.SID != session.PID || session.PGID != session.PID || session.PPID != leader.PID {
			tr.Errorf("does not lead a session: %+v", session)
		}
		tr.leave("session")
	},
	"daemon": func(tr *tree) {
		if dir := tr.proc(tr.orphan("daemon"), "cwd"); dir != "/" {
			tr.Errorf("it is in %s", dir)
		}
		tr.leave("daemon")
	},
	"hold-stdout": func(tr *tree) {
		leader, holder := tr.row("leader"), tr.row("holder")
		if theirs, ours := tr.proc(holder, "fd/1"), tr.proc(leader, "fd/1"); theirs != ours || !strings.HasPrefix(ours, "pipe:") {
			tr.Errorf("the holder has %s, the leader %s", theirs, ours)
		}
		tr.leave("holder")
		// Without a writer it would be end-of-file.
		tr.stdout.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
		if _, err := tr.stdout.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
			tr.Errorf("read the leader's output: %v", err)
		}
		tr.signal("holder", syscall.SIGTERM)
		tr.stdout.SetReadDeadline(time.Time{})
		if _, err := tr.stdout.Read(make([]byte, 1)); err != io.EOF {
			tr.Errorf("read the leader's output without the holder: %v", err)
		}
	},
	"close-fds": func(tr *tree) {
		closer := tr.row("closer")
		if open := tr.pipes(closer.PID); len(open) > 0 {
			tr.Errorf("these are open: %v", open)
		}
		tr.leave("closer")
		select {
		case <-tr.gone:
		case <-tr.ctx.Done():
			tr.Error("the oracle is held")
		}
		ctx, cancel := context.WithTimeout(tr.ctx, 10*time.Millisecond)
		defer cancel()
		if err := tr.Gone(ctx); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("closer (%d)", closer.PID)) {
			tr.Errorf("Gone does not name the closer: %v", err)
		}
	},
	"chain": func(tr *tree) {
		tr.Release()
		tr.waitLeader()
		seen := tr.all("link")
		for range 20 {
			seen = append(seen, tr.next("link", seen...))
		}
		// The next one is there, so those before its parent are gone.
		for _, m := range seen[:len(seen)-2] {
			h, err := proctree.Open(m.ID)
			if err != nil {
				continue // and has been reaped
			}
			if err := h.Wait(tr.ctx); err != nil {
				tr.Error(err)
			}
			h.Close()
		}
		tr.expect("link")
	},
	"respawn": func(tr *tree) {
		tr.signal("respawner", syscall.SIGTERM)
		old := tr.all("worker")
		for range 3 {
			h, err := proctree.Open(old[len(old)-1].ID)
			if err != nil {
				tr.Fatal(err)
			}
			if err := h.Signal(syscall.SIGTERM); err != nil {
				tr.Error(err)
			}
			h.Close()
			old = append(old, tr.next("worker", old...))
		}
		tr.leave("respawner", "worker")
	},
	"kill-group": func(tr *tree) {
		tr.Release()
		if status := tr.waitLeader(); status.Signal() != syscall.SIGTERM {
			tr.Errorf("the leader ended with status %#x", status)
		}
		tr.expect("killer", "ignorer")
	},
	"kill-parent": func(tr *tree) {
		tr.Release()
		if status := tr.waitLeader(); status.Signal() != syscall.SIGKILL {
			tr.Errorf("the leader ended with status %#x", status)
		}
		tr.expect("parricide")
	},
	"wide": func(tr *tree) {
		if n := len(tr.all("child")); n != width {
			tr.Errorf("%d children, want %d", n, width)
		}
		if n := len(tr.Survivors()); n != 1+width {
			tr.Errorf("%d members, want %d", n, 1+width)
		}
		tr.leave("child")
	},
	"stopped": func(tr *tree) {
		if row := tr.row("frozen"); row.State != proctree.Stopped {
			tr.Errorf("in state %c", row.State)
		}
		tr.signal("frozen", syscall.SIGHUP)
		tr.signal("frozen", syscall.SIGTERM)
		if row := tr.row("frozen"); row.State != proctree.Stopped {
			tr.Errorf("in state %c after SIGTERM", row.State)
		}
		tr.signal("frozen", syscall.SIGCONT)
		tr.expect("leader")
	},
	"dead-leader": func(tr *tree) {
		if row := tr.row("headless"); row.State != proctree.Zombie || row.Threads < 2 {
			tr.Errorf("in state %c with %d threads", row.State, row.Threads)
		}
		tr.leave("headless")
		tr.signal("headless", syscall.SIGTERM)
		tr.expect()
	},
	"scrubbed": func(tr *tree) {
		renamed := tr.orphan("renamed")
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
	},
	"subreaper": func(tr *tree) {
		reaper, orphan := tr.row("reaper"), tr.orphan("orphan")
		if orphan.PPID != reaper.PID {
			tr.Errorf("not adopted by %d: %+v", reaper.PID, orphan)
		}
		tr.impolite("reaper")
		tr.leave("reaper", "orphan")
		tr.signal("orphan", syscall.SIGTERM)
		tr.expect("reaper")
		if row := tr.row("orphan"); row.State != proctree.Zombie {
			tr.Errorf("in state %c", row.State)
		}
		if row := tr.row("reaper"); !row.Alive() {
			tr.Error("the reaper has ended")
		}
	},
	"own-ns": func(tr *tree) {
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
		tr.impolite("ns-init")
		tr.leave("ns-init", "ns-child")
		tr.signal("ns-child", syscall.SIGTERM)
		tr.expect("ns-init")
		tr.signal("ns-init", syscall.SIGKILL)
		tr.expect()
	},
	"traced": func(tr *tree) {
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
	},
	"no-pdeathsig": func(tr *tree) {
		leader, undying := tr.row("leader"), tr.row("undying")
		if undying.SID != undying.PID || undying.PGID != undying.PID {
			tr.Errorf("does not lead a session: %+v", undying)
		}
		open, oracle := tr.pipes(undying.PID), tr.proc(leader, "fd/4")
		if len(open) != 1 || open["4"] != oracle {
			tr.Errorf("these are open: %v, the oracle is %s", open, oracle)
		}
		tr.leave("undying")
	},
	"vfork": func(tr *tree) {
		suspended, borrower := tr.row("suspended"), tr.row("borrower")
		if borrower.PPID != suspended.PID || borrower.Threads != 1 {
			tr.Errorf("not a child of %d: %+v", suspended.PID, borrower)
		}
		if suspended.State != proctree.Disk || suspended.Threads < 2 {
			tr.Errorf("in state %c with %d threads", suspended.State, suspended.Threads)
		}
		const vm = 1 // KCMP_VM
		other, _, errno := unix.Syscall6(unix.SYS_KCMP, uintptr(suspended.PID), uintptr(borrower.PID), vm, 0, 0, 0)
		switch {
		case errno == unix.ENOSYS || errno == unix.EPERM:
			tr.Logf("SKIPPED: whether the memory is shared: %v", errno)
		case errno != 0 || other != 0:
			tr.Errorf("compare the memory: %d, %v", other, errno)
		}
		for _, sig := range polite {
			if !tr.inSet(borrower.PID, "SigBlk", sig.(syscall.Signal)) {
				tr.Errorf("the borrower does not block %v", sig)
			}
		}
		tr.impolite("borrower")
		tr.impolite("suspended")
		tr.leave("suspended", "borrower")
		tr.signal("suspended", syscall.SIGKILL)
		tr.expect("borrower")
	},
	"mover": func(tr *tree) {
		moved := tr.orphan("moved")
		group := tr.group(moved.PID)
		if !strings.HasPrefix(filepath.Base(group), fmt.Sprintf("corral-escape-%d-", moved.PID)) {
			tr.Errorf("it is in %s", group)
		}
		if own := tr.group(tr.row("leader").PID); own != "/" && strings.HasPrefix(group, own+"/") {
			tr.Errorf("%s is within %s", group, own)
		}
		tr.leave("moved")
		tr.signal("moved", syscall.SIGTERM)
		tr.expect()
	},
}

// find returns the child of a name, and skips the test if there cannot be one.
func find(t *testing.T, name string) Child {
	t.Helper()
	all := All()
	c := all[slices.IndexFunc(all, func(c Child) bool { return c.Name == name })]
	if err := c.Unavailable(); err != nil {
		t.Skip("SKIPPED:", err)
	}
	return c
}

func TestShapes(t *testing.T) {
	StartBystander(t)
	for _, c := range All() {
		t.Run(c.Name, func(t *testing.T) {
			check := checks[c.Name]
			if check == nil {
				t.Fatal("nothing checks it")
			}
			tr := start(t, find(t, c.Name))
			if len(tr.ready) != c.Members || tr.row("leader").PID != tr.leader.Process.Pid {
				t.Errorf("leader %d, members %v", tr.leader.Process.Pid, tr.ready)
			}
			for _, m := range tr.ready {
				if !strings.Contains(c.Doc, `"`+m.Role+`"`) && m.Role != "leader" {
					t.Errorf("the Doc does not mention the %s", m.Role)
				}
			}
			check(tr)
		})
	}
}

// TestAsked: some act when they are asked to end, too.
func TestAsked(t *testing.T) {
	for _, tt := range []struct {
		child, asked string
		leader       syscall.Signal
		survivors    []string
	}{
		{"kill-group", "killer", syscall.SIGTERM, []string{"killer", "ignorer"}},
		{"kill-parent", "parricide", syscall.SIGKILL, []string{"parricide"}},
	} {
		t.Run(tt.child, func(t *testing.T) {
			tr := start(t, find(t, tt.child))
			tr.signal(tt.asked, syscall.SIGTERM)
			if status := tr.waitLeader(); status.Signal() != tt.leader {
				t.Errorf("the leader ended with status %#x", status)
			}
			tr.expect(tt.survivors...)
		})
	}
}

// TestLoanEnds: the suspended lives on after what it shared its stack with.
func TestLoanEnds(t *testing.T) {
	tr := start(t, find(t, "vfork"))
	tr.signal("borrower", syscall.SIGKILL)
	tr.leave("suspended")
	// It may not have got to its next system call yet.
	for tr.row("suspended").State != proctree.Sleeping {
		if tr.ctx.Err() != nil {
			t.Fatalf("in state %c", tr.row("suspended").State)
		}
		time.Sleep(time.Millisecond)
	}
	tr.impolite("suspended")
	tr.expect("suspended")
	tr.signal("suspended", syscall.SIGKILL)
	tr.expect()
}

// TestDeathSignal: of two leaders that get a signal when the thread that started
// them ends, only one does not mind.
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

// TestMoverCleanup: the control group does not outlive the test.
func TestMoverCleanup(t *testing.T) {
	r := &recorder{TB: t}
	p := NewProbe(r, find(t, "mover"))
	tr := launch(t, p)
	p.Started()
	tr.ready = tr.Ready(tr.ctx)
	dir := p.dirs[len(p.dirs)-1]
	if _, err := os.Stat(dir); err != nil {
		t.Error(err)
	}
	if said := r.end(); said != "" {
		t.Error(said)
	}
	for _, dir := range p.dirs {
		if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: %v", dir, err)
		}
	}
}

func TestUnavailable(t *testing.T) {
	defer func() {
		usedMu.Lock()
		delete(used, "nothing")
		usedMu.Unlock()
	}()
	use("nothing", false)
	lacking := errors.New("lacking")
	c := Child{Name: "nothing", needs: func() error { return lacking }}
	if err := c.Unavailable(); !errors.Is(err, lacking) || !strings.Contains(err.Error(), c.Name) {
		t.Errorf("error %v", err)
	}
	if names := unused(); slices.Contains(names, "nothing") {
		t.Errorf("unused: %v", names)
	}
	c.needs = nil
	if err := c.Unavailable(); err != nil {
		t.Error(err)
	}
}

func TestKillOwner(t *testing.T) {
	p := NewProbe(t, KillOwner())
	path, args, files := p.Command()
	path, args = Command("test-owner", append([]string{path}, args...)...)
	owner := exec.Command(path, args...)
	owner.ExtraFiles = files
	owner.Stderr = os.Stderr
	if err := owner.Start(); err != nil {
		t.Fatal(err)
	}
	p.Started()
	p.Ready(timeout(t, 30*time.Second))
	p.Release()
	owner.Wait()
	if status := owner.ProcessState.Sys().(syscall.WaitStatus); status.Signal() != syscall.SIGKILL {
		t.Errorf("the owner: %v", owner.ProcessState)
	}
	if err := p.Gone(timeout(t, 30*time.Second), "leader", "child"); err != nil {
		t.Error(err)
	}
}

// recorder is a test of which the result is looked at.
type recorder struct {
	testing.TB
	mu       sync.Mutex
	said     []string
	cleanups []func()
}

func (r *recorder) Error(args ...any)                 { r.say(fmt.Sprint(args...)) }
func (r *recorder) Errorf(format string, args ...any) { r.say(fmt.Sprintf(format, args...)) }
func (r *recorder) Cleanup(f func())                  { r.cleanups = append(r.cleanups, f) }
func (r *recorder) say(s string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.said = append(r.said, s)
}

// end runs the cleanups and returns what was said.
func (r *recorder) end() string {
	for _, f := range slices.Backward(r.cleanups) {
		f()
	}
	return strings.Join(r.said, "\n")
}

func TestKillOwnerRefusesTest(t *testing.T) {
	r := &recorder{TB: t}
	p := NewProbe(r, KillOwner())
	tr := launch(t, p)
	p.Started()
	if status := tr.waitLeader(); status.ExitStatus() != failed {
		t.Errorf("the leader ended with status %#x", status)
	}
	<-p.ready
	if said := r.end(); !strings.Contains(said, fmt.Sprintf("refuse to kill process %d,", os.Getpid())) {
		t.Errorf("said %q", said)
	}
}

func TestGoneErrors(t *testing.T) {
	tr := launch(t, NewProbe(t, find(t, "plain")))
	tr.ready = tr.Ready(tr.ctx)
	at := func() context.Context { return timeout(t, 10*time.Millisecond) }
	check := func(err error, want string) {
		t.Helper()
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %s", err, want)
		}
	}
	check(tr.Gone(at()), "2 still alive")
	check(tr.Gone(at(), "child"), "1 still alive: [leader (")
	tr.leave("child")
	tr.signal("child", syscall.SIGTERM)
	if err := tr.watch(tr.ctx, nil); err != nil {
		t.Fatal(err)
	}
	check(tr.Gone(at()), "not reported")
	tr.Started()
	check(tr.Gone(tr.ctx, "child"), "none of these has survived: [child]")
	tr.expect()
}

func TestBystander(t *testing.T) {
	for _, sig := range []syscall.Signal{0, syscall.SIGTERM, syscall.SIGKILL, syscall.SIGSTOP} {
		r := &recorder{TB: t}
		bystander := StartBystander(r)
		if sig != 0 {
			if err := bystander.Signal(sig); err != nil {
				t.Fatal(err)
			}
			if sig == syscall.SIGSTOP {
				var status syscall.WaitStatus
				if _, err := syscall.Wait4(bystander.Pid, &status, syscall.WUNTRACED, nil); err != nil {
					t.Fatal(err)
				}
			}
		}
		if said := r.end(); (said != "") != (sig != 0) {
			t.Errorf("after %v it said %q", sig, said)
		}
	}
}

// TestLifetime shortens it, and leaves the trees to themselves.
func TestLifetime(t *testing.T) {
	// It takes long to start, and is made of the same as others.
	pending := slices.DeleteFunc(All(), func(c Child) bool {
		err := c.Unavailable()
		if err != nil {
			t.Log("SKIPPED:", err)
		}
		return c.Name == "wide" || err != nil
	})
	for life := 3 * time.Second; len(pending) > 0; life *= 2 {
		var trees []*tree
		var tests []*recorder
		for _, c := range pending {
			r := &recorder{TB: t}
			p := NewProbe(r, c)
			p.args[1] = strconv.FormatInt(time.Now().Add(life).UnixMilli(), 10)
			trees, tests = append(trees, launch(t, p)), append(tests, r)
			p.Started()
		}
		pending = nil
		ctx := timeout(t, life+20*time.Second)
		for i, tr := range trees {
			if err := tr.await(ctx, nil); err != nil {
				t.Error(err)
			}
			members, _ := tr.known()
			said := tests[i].end()
			switch {
			case len(members) >= tr.child.Members:
				if said != "" {
					t.Error(said)
				}
			case life < 30*time.Second:
				// It was not complete when it ended, so that proves little.
				pending = append(pending, tr.child)
			default:
				t.Errorf("%s: %d of %d members after %v: %s", tr.child.Name, len(members), tr.child.Members, life, said)
			}
		}
	}
}

// TestLifetimeStopped: nor does the init of a namespace live longer that has been
// stopped.
func TestLifetimeStopped(t *testing.T) {
	const life = 5 * time.Second
	p := NewProbe(t, find(t, "own-ns"))
	p.args[1] = strconv.FormatInt(time.Now().Add(life).UnixMilli(), 10)
	tr := launch(t, p)
	p.Started()
	tr.ready = tr.Ready(tr.ctx)
	tr.signal("ns-init", syscall.SIGSTOP)
	for tr.row("ns-init").State != proctree.Stopped {
		if tr.ctx.Err() != nil {
			t.Fatal("it does not stop")
		}
		time.Sleep(time.Millisecond)
	}
	tr.expect()
}

func TestRegisterTwice(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("no panic")
		}
	}()
	Register("plain", func([]string) {})
}

func TestUnused(t *testing.T) {
	use("nothing", false)
	defer func() {
		usedMu.Lock()
		delete(used, "nothing")
		usedMu.Unlock()
	}()
	if names := unused(); !slices.Contains(names, "nothing") {
		t.Errorf("unused: %v", names)
	}
}
