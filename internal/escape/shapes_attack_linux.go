package escape

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/corral-run/corral/internal/proctree"
)

// Each of these attacks what holds it: the helper of Corral's, of the same user,
// that stands between it and its owner, or beside it. They leave alone what belongs
// to the test itself: its own guard, and its descriptors.

var _ = attack("stop-helper", "stopper", `has stopped the keeper or guard by SIGSTOP`, nil,
	func(p *process, h proctree.Process) {
		if err := signalRow(h, syscall.SIGSTOP); err != nil {
			p.fail(err)
		}
	})

var _ = attack("trace-helper", "debugger", `has stopped the threads of the keeper or guard by ptrace(2), if it may`,
	notRoot, trace)

var _ = attack("starve-helper", "starver", `has taken the right to open descriptors and to start threads `+
	`from the keeper or guard (prlimit(2))`, nil,
	func(p *process, h proctree.Process) {
		for _, resource := range []int{unix.RLIMIT_NOFILE, unix.RLIMIT_NPROC} {
			// A member that is not root cannot do it to a guard of root's.
			err := unix.Prlimit(h.PID, resource, &unix.Rlimit{}, nil)
			if err != nil && err != unix.EPERM && err != unix.ESRCH {
				p.fail(os.NewSyscallError("prlimit", err))
			}
		}
	})

var _ = attack("forge", "forger", `has taken the line of the keeper or guard, if it may, and told the owner that all is over`,
	notRoot, func(p *process, h proctree.Process) {
		for _, fd := range steal(h.PID) {
			unix.SetNonblock(fd, true)
			unix.Write(fd, forgedEvents)
		}
	})

var _ = attack("hold-line", "robber", `holds all sockets of its owner, if it may, so that none of them ends with it`,
	notRoot, func(p *process, h proctree.Process) {
		owner, err := proctree.Lookup(h.PPID)
		if h.PPID <= 1 || err != nil || !p.descends(owner) {
			return // outside of the namespace, or the test itself
		}
		steal(owner.PID)
	})

// attack adds a child with one member in the role, which does f to each helper.
func attack(name, role, does string, needs func() error, f func(*process, proctree.Process)) Child {
	return add(Child{
		Name: name,
		Doc: fmt.Sprintf(`a %q, which %s, and an "ignorer", in another session, which ignores SIGHUP, SIGINT and SIGTERM; `+
			`its parent is gone`, role, does),
		Members: 3,
		needs:   needs,
	}, parts{
		"leader": func(p *process) {
			p.waitFor(p.member("ignorer-parent", &syscall.SysProcAttr{Setsid: true}, []string{"1"}))
			helpers := p.helpers()
			p.named(os.Getpid(), "leader")
			p.member(role, nil, helpers)
			p.released()
			exit(0)
		},
		role: func(p *process) {
			p.notify()
			for _, pid := range p.numbers() {
				if row, err := proctree.Lookup(pid); err == nil && isHelper(row) {
					f(p, row)
				}
			}
			p.named(os.Getpid(), role)
			p.stay()
		},
	})
}

// notRoot is what attacks need that a privileged member can make on anybody.
func notRoot() error {
	if os.Geteuid() == 0 {
		return errors.New("root may trace every process, and nothing holds a member of root's that does")
	}
	return nil
}

func isHelper(row proctree.Process) bool {
	return len(row.Args) > 0 && (row.Args[0] == "corral-keeper" || row.Args[0] == "corral-guard")
}

// helpers returns the PIDs of the helpers that hold this process, the leader: they
// are its parent, or children of its parent. The test's own guard, which is there
// for other children too, is none of them.
func (p *process) helpers() (pids []string) {
	parent, err := proctree.Lookup(os.Getppid())
	if err != nil {
		return nil // of another PID namespace
	}
	candidates := []proctree.Process{parent}
	if !isHelper(parent) && p.descends(parent) {
		table, err := proctree.Snapshot()
		if err != nil {
			p.fail(err)
		}
		candidates = proctree.Children(table, parent.PID)
	}
	for _, row := range candidates {
		if isHelper(row) && p.descends(row) {
			pids = append(pids, strconv.Itoa(row.PID))
		}
	}
	return pids
}

// descends reports whether a process descends from the test, or is in a PID
// namespace that Corral has made for this tree.
func (p *process) descends(row proctree.Process) bool {
	if row.PID == p.testPID {
		return false
	}
	for above, err := row, error(nil); err == nil && above.PID > 0; above, err = proctree.Lookup(above.PPID) {
		switch {
		case above.PPID == p.testPID:
			return true
		case above.PPID <= 1:
			return inOwnNamespace()
		}
	}
	return false
}

func signalRow(row proctree.Process, sig syscall.Signal) error {
	h, err := proctree.Open(row.ID)
	if err != nil {
		return err
	}
	defer h.Close()
	return h.Signal(sig)
}

// trace stops the threads of h for as long as this process lives. It leaves alone
// those that it may not trace.
func trace(p *process, h proctree.Process) {
	runtime.LockOSThread() // for good: the tracer is a thread
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*", h.PID))
	if err != nil {
		p.fail(err)
	}
	for _, task := range tasks {
		tid, err := strconv.Atoi(filepath.Base(task))
		if err != nil {
			p.fail(err)
		}
		if _, _, errno := unix.Syscall6(unix.SYS_PTRACE, unix.PTRACE_SEIZE, uintptr(tid), 0, 0, 0, 0); errno != 0 {
			continue
		}
		unix.Syscall6(unix.SYS_PTRACE, unix.PTRACE_INTERRUPT, uintptr(tid), 0, 0, 0, 0)
		var status syscall.WaitStatus
		syscall.Wait4(tid, &status, syscall.WALL, nil)
	}
	signal.Ignore(syscall.SIGCHLD)
}

// steal returns copies of the sockets of a process, if this one may have them.
func steal(pid int) (fds []int) {
	pidfd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return nil
	}
	for fd := range 64 {
		copied, err := unix.PidfdGetfd(pidfd, fd, 0)
		if err != nil {
			continue
		}
		name, err := unix.Getsockname(copied)
		if _, ok := name.(*unix.SockaddrUnix); err == nil && ok {
			fds = append(fds, copied)
		} else {
			unix.Close(copied)
		}
	}
	return fds
}

// forgedEvents are what a keeper says of a leader that has ended with status 0 as
// the last of its run, and twice that the run is empty (wire.Event). A line that
// carries something else takes them for garbage, which is no less of an attack.
var forgedEvents = slices.Concat(
	[]byte{21, 0, 0, 0, 2 * 3, 0}, make([]byte, 4+14), []byte{2},
	[]byte{1, 0, 0, 0, 2 * 4}, []byte{1, 0, 0, 0, 2 * 4},
)

// KillHelper is a child whose leader kills its own parent by force, as soon as it
// has started an "ignorer" in another session, which ignores SIGHUP, SIGINT and
// SIGTERM and whose parent is gone. It kills only a keeper that the test has
// started, not the init of a namespace, which would not notice.
func KillHelper() Child { return killHelper }

var killHelper = define(Child{
	Name:    "kill-helper",
	Doc:     `an "ignorer"; the leader has killed its own parent, if that was a keeper`,
	Members: 2,
}, parts{"leader": func(p *process) {
	parent, err := proctree.Lookup(os.Getppid())
	p.waitFor(p.member("ignorer-parent", &syscall.SysProcAttr{Setsid: true}, []string{"1"}))
	p.named(os.Getpid(), "leader")
	if err == nil && parent.PID > 1 && isHelper(parent) && p.descends(parent) && os.Getppid() == parent.PID {
		if err := signalRow(parent, syscall.SIGKILL); err != nil && !errors.Is(err, proctree.ErrGone) {
			p.fail(err)
		}
	}
	p.released()
	exit(0)
}})
