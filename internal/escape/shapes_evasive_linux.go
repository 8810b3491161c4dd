package escape

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/corral-run/corral/internal/proctree"
)

// Each of these defeats one way in which Linux lets a containment find, hold or
// kill its processes: the environment and the name, the parent, the PID and the
// user, a signal, the parent-death signal, a wait, the control group.

func init() {
	// Nothing that it was given tells whose it is: a search for a variable in the
	// environment, for a name or for arguments misses it, and so does one along
	// the parents or in the session.
	add(Child{
		Name: "scrubbed",
		Doc: `a "renamed": a daemon made as that of the child daemon, with an empty environment, which calls itself ` +
			kernelThread + `, in its arguments too; its parent is gone`,
		Members: 2,
	}, func(p *process) {
		p.waitFor(p.member("renamed-parent", &syscall.SysProcAttr{Setsid: true}, nil))
		p.lead()
	})
	addMember("renamed-parent", func(p *process) {
		p.start("renamed", nil, &os.ProcAttr{Dir: "/", Env: []string{}})
	})
	addMember("renamed", rename)
	onMainThread("renamed")

	// The orphan does not come to the subreaper that a containment has above the
	// tree, not before the reaper has ended. The one who kills the orphan cannot
	// make its zombie go away.
	add(Child{
		Name: "subreaper",
		Doc: `a "reaper", which adopts orphans (PR_SET_CHILD_SUBREAPER), never waits for them, and ignores SIGHUP, ` +
			`SIGINT and SIGTERM, and an "orphan" in another session, which it has adopted`,
		Members: 3,
	}, func(p *process) {
		p.member("reaper", nil, nil)
		p.lead()
	})
	addMember("reaper", func(p *process) {
		p.notify()
		p.prctl(unix.PR_SET_CHILD_SUBREAPER, 1)
		p.waitFor(p.member("orphan-parent", &syscall.SysProcAttr{Setsid: true}, nil))
		p.named(os.Getpid(), "reaper")
		p.stay()
	})
	addMember("orphan-parent", func(p *process) { p.leaf("orphan", nil) })

	// What these say of their PIDs or their user is not what it is outside, and
	// the init is immune to signals for which it has no handler, SIGKILL included,
	// unless they come from outside.
	add(Child{
		Name: "own-ns",
		Doc: `an "ns-init", which is PID 1 of a PID namespace, in a user namespace, and ignores SIGHUP, SIGINT and ` +
			`SIGTERM, and an "ns-child" in there, which does what it is told`,
		Members: 3,
		needs:   canUnshare,
	}, leadNamespaces)
	addMember("ns-init", func(p *process) {
		const last = firstFile + 3 // see settled
		syscall.CloseOnExec(last)
		p.notify()
		// It ignores the SIGKILL of limit. SIGCONT lets it go on to its end even so.
		wake := newAlarm(p.deadline, syscall.SIGCONT)
		if call, errno := wake.set(); errno != 0 {
			p.fail(os.NewSyscallError(call, errno))
		}
		p.startSleep(nil)
		syscall.Close(last)
		p.stay()
	})

	// A tracee acts on no signal but SIGKILL, and cannot be stopped or continued
	// by others. When its tracer ends it begins to run.
	add(Child{
		Name: "traced",
		Doc: `a "tracer" and its child, a "tracee", which is stopped by ptrace(2) at its first instruction, ` +
			`and runs if the tracer ends; both do what they are told`,
		Members: 3,
		needs:   canTrace,
	}, func(p *process) {
		p.member("tracer", nil, nil)
		p.lead()
	})
	addMember("tracer", func(p *process) {
		runtime.LockOSThread() // the tracer is a thread
		tracee := p.member("tracee", &syscall.SysProcAttr{Ptrace: true}, nil)
		p.waitStop(tracee)
		p.named(tracee.Pid, "tracee")
		p.named(os.Getpid(), "tracer")
		p.stay()
	})
	addMember("tracee", (*process).stay)

	// A containment that lets the kernel kill the tree when the owner ends, by a
	// parent-death signal, or that learns of the end from a pipe, has lost.
	add(Child{
		Name: "no-pdeathsig",
		Doc: `an "undying", which leads a session of its own and has closed all its descriptors but for the oracle; ` +
			`it has no parent-death signal, and the leader has cleared its own`,
		Members: 2,
	}, func(p *process) {
		p.clearDeathSignal()
		p.settled("undying", &syscall.SysProcAttr{Setsid: true})
		p.lead()
	})
	addMember("undying", func(p *process) {
		p.clearDeathSignal()
		p.named(os.Getpid(), "undying")
		p.becomeSleep(int(p.oracle.Fd()))
	})
	onMainThread("no-pdeathsig")
	onMainThread("undying")

	// The main thread of the one is in a sleep that only SIGKILL ends, and looks
	// like one in which not even that helps (state D). The other shares its memory
	// but does not end with it.
	add(Child{
		Name: "vfork",
		Doc: `a "suspended", which ignores SIGHUP, SIGINT and SIGTERM, and whose main thread is in vfork(2): ` +
			`its child, a "borrower", neither executes anything nor ends, and blocks all signals`,
		Members: 3,
	}, func(p *process) {
		p.member("suspended", nil, nil)
		p.lead()
	})
	addMember("suspended", suspend)
	onMainThread("suspended")

	// It is not in the control group that a containment made for the tree, and
	// nothing else ties it to that.
	add(Child{
		Name: "mover",
		Doc: `a "moved", which has made a control group beside its own one, or at the top, and has gone there; ` +
			`it is in another session, and its parent is gone`,
		Members: 2,
		needs:   canMove,
	}, func(p *process) {
		p.waitFor(p.member("moved-parent", &syscall.SysProcAttr{Setsid: true}, nil))
		p.lead()
	})
	addMember("moved-parent", func(p *process) { p.member("moved", nil, nil) })
	addMember("moved", func(p *process) {
		if err := moveAside(os.Getpid(), p.makes); err != nil {
			p.fail(err)
		}
		p.named(os.Getpid(), "moved")
		p.stay()
	})
}

func (p *process) prctl(option int, arg uintptr) {
	if err := unix.Prctl(option, arg, 0, 0, 0); err != nil {
		p.fail(os.NewSyscallError("prctl", err))
	}
}

// clearDeathSignal clears what the one that started the process has set, which
// is an attribute of the main thread.
func (p *process) clearDeathSignal() {
	p.checkMainThread()
	p.prctl(unix.PR_SET_PDEATHSIG, 0)
}

// kernelThread is a name that no one looks twice at.
const kernelThread = "kworker/u8:3"

func rename(p *process) {
	p.checkMainThread() // its name is the one of the process
	name, err := unix.BytePtrFromString(kernelThread)
	if err != nil {
		p.fail(err)
	}
	p.prctl(unix.PR_SET_NAME, uintptr(unsafe.Pointer(name)))
	runtime.KeepAlive(name)
	// The arguments are where the kernel put them, one after the other, each with
	// a NUL at its end.
	size := 0
	for _, arg := range os.Args {
		size += len(arg) + 1
	}
	title := unsafe.Slice(unsafe.StringData(os.Args[0]), size)
	p.role = "renamed" // it was part of them
	clear(title)
	copy(title[:size-1], kernelThread)
	p.named(os.Getpid(), p.role)
	p.stay()
}

// leadNamespaces reports those in the namespaces, as they do not know their
// PIDs outside.
func leadNamespaces(p *process) {
	ns := p.settled("ns-init", namespaces())
	table, err := proctree.Snapshot()
	if err != nil {
		p.fail(err)
	}
	inside := proctree.Children(table, ns.Pid)
	if len(inside) != 1 {
		p.fail(fmt.Errorf("%d processes in the namespace of %d, want 1", len(inside), ns.Pid))
	}
	p.named(ns.Pid, "ns-init")
	p.named(inside[0].PID, "ns-child")
	p.lead()
}

func namespaces() *syscall.SysProcAttr {
	same := func(id int) []syscall.SysProcIDMap {
		return []syscall.SysProcIDMap{{ContainerID: id, HostID: id, Size: 1}}
	}
	return &syscall.SysProcAttr{
		Cloneflags:  unix.CLONE_NEWUSER | unix.CLONE_NEWPID,
		UidMappings: same(os.Getuid()),
		GidMappings: same(os.Getgid()),
	}
}

func suspend(p *process) {
	p.checkMainThread()
	p.notify()
	// The main thread keeps its processor and does not stop for the garbage
	// collector.
	runtime.GOMAXPROCS(2)
	debug.SetGCPercent(-1)
	l := &loan{alarm: newAlarm(p.deadline, syscall.SIGKILL)}
	started := make(chan struct{})
	go func() {
		close(started)
		for !l.isMade() {
			time.Sleep(time.Millisecond)
		}
		if l.errno != 0 {
			p.fail(os.NewSyscallError(l.call, l.errno))
		}
		table, err := proctree.Snapshot()
		if err != nil {
			p.fail(err)
		}
		children := proctree.Children(table, os.Getpid())
		if len(children) != 1 {
			p.fail(fmt.Errorf("%d children, want 1", len(children)))
		}
		p.named(children[0].PID, "borrower")
		p.named(os.Getpid(), "suspended")
		p.stay()
	}()
	<-started
	// A handler of Go's must not run in the borrower.
	var all unix.Sigset_t
	for i := range all.Val {
		all.Val[i]--
	}
	if err := unix.PthreadSigmask(unix.SIG_SETMASK, &all, nil); err != nil {
		p.fail(os.NewSyscallError("rt_sigprocmask", err))
	}
	borrow(l)
}

// loan is in the memory that suspended and borrower share.
type loan struct {
	alarm *alarm
	made  uint32 // the fields below have been set
	call  string
	errno syscall.Errno
}

func (l *loan) isMade() bool { return atomic.LoadUint32(&l.made) != 0 }

// borrow makes the borrower and does not return in either process, unless it
// sets an error.
//
// The two share the stack too, and the runtime knows of one thread only. So the
// borrower must not get out of this function or run any other Go code that may
// grow the stack, wait, or is watched by the race detector. What it writes on
// the stack the suspended finds when the borrower has ended: the return
// addresses of the system call, which are those in the loop, as that is the same
// call from the same frame. So it goes on in the loop.
//
//go:norace
//go:nosplit
func borrow(l *loan) {
	pid, _, errno := syscall.RawSyscall6(unix.SYS_CLONE, unix.CLONE_VM|unix.CLONE_VFORK|uintptr(unix.SIGCHLD), 0, 0, 0, 0, 0)
	switch {
	case errno != 0:
		l.call, l.errno = "clone", errno
	case pid == 0:
		l.call, l.errno = l.alarm.set()
	}
	l.made = 1
	for {
		syscall.RawSyscall6(unix.SYS_PPOLL, 0, 0, 0, 0, 0, 0) // of nothing, for ever
	}
}

// makes reports a directory that the test has to remove, before it is made.
func (p *process) makes(dir string) {
	if _, err := fmt.Fprintln(p.report, dir); err != nil {
		exit(failed)
	}
}

// moveAside moves a process to a control group of its own beside the one of this
// process. It tells of a directory before it makes it.
func moveAside(pid int, tell func(dir string)) error {
	parents, err := cgroupParents()
	if err != nil {
		return err
	}
	var errs []error
	for _, parent := range parents {
		// The number alone may be another's too, in another PID namespace.
		dir := filepath.Join(parent, fmt.Sprintf("corral-escape-%d-%d", pid, time.Now().UnixNano()))
		tell(dir)
		err := os.Mkdir(dir, 0o755)
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte(strconv.Itoa(pid)), 0)
		}
		if err == nil {
			return nil
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// cgroupParents returns the directories in which there may be a control group
// beside the one of this process: its parent, unless it has none, and the top.
func cgroupParents() ([]string, error) {
	top, root, err := cgroupMount()
	if err != nil {
		return nil, err
	}
	groups, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(string(groups)) {
		own, ok := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "0::")
		if !ok {
			continue
		}
		below, err := filepath.Rel(root, own)
		if err != nil || below == "." || !filepath.IsLocal(below) || filepath.Dir(below) == "." {
			return []string{top}, nil
		}
		return []string{filepath.Join(top, filepath.Dir(below)), top}, nil
	}
	return nil, errors.New("this process is in no control group of version 2")
}

// cgroupMount returns where control groups of version 2 are mounted, and which
// group is at the top there.
func cgroupMount() (top, root string, err error) {
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return "", "", err
	}
	for line := range strings.Lines(string(mounts)) {
		// See proc_pid_mountinfo(5).
		before, after, _ := strings.Cut(line, " - ")
		fields := strings.Fields(before)
		if strings.HasPrefix(after, "cgroup2 ") && len(fields) >= 5 {
			return fields[4], fields[3], nil
		}
	}
	return "", "", fmt.Errorf("cgroup2 is not mounted: %w", fs.ErrNotExist)
}

// What a child needs is tried with a process that only sleeps.
var (
	canUnshare = sync.OnceValue(func() error { return try(namespaces(), nil) })
	canTrace   = sync.OnceValue(func() error { return try(&syscall.SysProcAttr{Ptrace: true}, nil) })
	canMove    = sync.OnceValue(func() error {
		var dirs []string
		err := try(nil, func(pid int) error {
			return moveAside(pid, func(dir string) { dirs = append(dirs, dir) })
		})
		for _, dir := range dirs {
			if rmErr := os.Remove(dir); !errors.Is(rmErr, fs.ErrNotExist) {
				err = errors.Join(err, rmErr)
			}
		}
		return err
	})
)

// try starts a process and hands its PID to then, if that is not nil. The process
// is gone when it returns.
func try(sys *syscall.SysProcAttr, then func(pid int) error) error {
	sleep := exec.Command("sleep", "10")
	sleep.SysProcAttr = sys
	if err := sleep.Start(); err != nil {
		return err
	}
	defer sleep.Wait()
	defer sleep.Process.Kill()
	if then == nil {
		return nil
	}
	return then(sleep.Process.Pid)
}
