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
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/corral-run/corral/internal/poor"
	"github.com/corral-run/corral/internal/proctree"
)

// Most of these turn on the one who holds them: the process of Corral's, of the
// same user, that stands between them and their owner, or beside it. They leave
// alone what the test itself is: its own guard, and its descriptors.

func init() {
	// The kernel's cgroup.kill takes a process whose main thread has ended for one
	// that is ending already, and polite signals do not reach this one either.
	add(Child{
		Name: "undead",
		Doc: `a "zombie", which leads a session of its own and ignores SIGHUP, SIGINT and SIGTERM: ` +
			`the leader of its threads has exited, others live on`,
		Members: 2,
	}, func(p *process) {
		p.member("zombie", &syscall.SysProcAttr{Setsid: true}, nil)
		p.lead()
	})
	addMember("zombie", func(p *process) {
		signal.Ignore(polite...)
		headless(p)
	})
	onMainThread("zombie")

	// No look at the leader's children finds it, though the leader has started it.
	add(Child{
		Name: "clone-parent",
		Doc: `a "sibling", which the leader has started as a child of its own parent (CLONE_PARENT) ` +
			`and which leads a session of its own`,
		Members: 2,
	}, func(p *process) {
		p.named(p.sibling(), "sibling")
		p.lead()
	})

	// Nobody can start another process or thread, and that goes for the helper too.
	add(Child{
		Name: "fork-limit",
		Doc: `a "forker", which ignores SIGHUP, SIGINT and SIGTERM, and has taken all processes that there are for its user ` +
			`or control group, 200 at most, as have its helper's; each of its children ignores the same`,
		Members: 2,
	}, func(p *process) {
		p.member("forker", &syscall.SysProcAttr{Setsid: true}, p.helpers())
		p.lead()
	})
	addMember("forker", forkToLimit)

	attack("stop-helper", "stopper", `has stopped the keeper or guard by SIGSTOP`, nil, func(p *process, h proctree.Process) {
		if err := signalRow(h, syscall.SIGSTOP); err != nil {
			p.fail(err)
		}
	})
	attack("trace-helper", "debugger", `has stopped the threads of the keeper or guard by ptrace(2), if it may`, notRoot, trace)
	attack("starve-helper", "starver", `has taken the right to open descriptors and to start threads from the keeper or guard (prlimit(2))`,
		nil, func(p *process, h proctree.Process) {
			for _, resource := range []int{unix.RLIMIT_NOFILE, unix.RLIMIT_NPROC} {
				// A guard of root's is not to be had by a member that is not root.
				err := unix.Prlimit(h.PID, resource, &unix.Rlimit{}, nil)
				if err != nil && err != unix.EPERM && err != unix.ESRCH {
					p.fail(os.NewSyscallError("prlimit", err))
				}
			}
		})
	attack("forge", "forger", `has taken the line of the keeper or guard, if it may, and told the owner that all is over`,
		notRoot, func(p *process, h proctree.Process) {
			for _, fd := range steal(h.PID) {
				unix.SetNonblock(fd, true)
				unix.Write(fd, forgedEvents)
			}
		})
	attack("hold-line", "robber", `holds all sockets of its owner, if it may, so that none of them ends with it`,
		notRoot, func(p *process, h proctree.Process) {
			owner, err := proctree.Lookup(h.PPID)
			if h.PPID <= 1 || err != nil || !p.descends(owner) {
				return // outside of the namespace, or the test itself
			}
			steal(owner.PID)
		})
}

// attack adds a child whose member, in the role, does to each helper what f does.
func attack(name, role, does string, needs func() error, f func(*process, proctree.Process)) {
	add(Child{
		Name: name,
		Doc: fmt.Sprintf(`a %q, which %s, and an "ignorer", in another session, which ignores SIGHUP, SIGINT and SIGTERM; `+
			`its parent is gone`, role, does),
		Members: 3,
		needs:   needs,
	}, func(p *process) {
		p.waitFor(p.member("ignorer-parent", &syscall.SysProcAttr{Setsid: true}, []string{"1"}))
		helpers := p.helpers()
		p.named(os.Getpid(), "leader")
		p.member(role, nil, helpers)
		p.released()
		exit(0)
	})
	addMember(role, func(p *process) {
		p.notify()
		for _, pid := range p.numbers() {
			if row, err := proctree.Lookup(pid); err == nil && isHelper(row) {
				f(p, row)
			}
		}
		p.named(os.Getpid(), role)
		p.stay()
	})
}

// notRoot is for what a privileged member can do to anybody.
func notRoot() error {
	if os.Geteuid() == 0 {
		return errors.New("root may trace every process, and nothing holds a member of root's that does")
	}
	return nil
}

func isHelper(row proctree.Process) bool {
	return len(row.Args) > 0 && (row.Args[0] == "corral-keeper" || row.Args[0] == "corral-guard")
}

// helpers returns the PIDs of those who hold the process that asks, which is the
// leader: its parent, or children of its parent. The test's own guard, which is
// there for other children too, is none of them.
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

// numbers are the arguments as PIDs.
func (p *process) numbers() (pids []int) {
	for _, arg := range p.args {
		pid, err := strconv.Atoi(arg)
		if err != nil {
			p.fail(err)
		}
		pids = append(pids, pid)
	}
	return pids
}

// descends reports whether the test has started a process, itself or by others,
// or whether the process is in a PID namespace that Corral has made for this tree.
func (p *process) descends(row proctree.Process) bool {
	if row.PID == p.testPID {
		return false
	}
	for above, err := row, error(nil); err == nil && above.PID > 0; above, err = proctree.Lookup(above.PPID) {
		switch {
		case above.PPID == p.testPID:
			return true
		case above.PPID <= 1:
			init, err := proctree.Lookup(1)
			return err == nil && len(init.Args) > 0 && init.Args[0] == "corral-keeper"
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

// trace stops the threads of h for as long as this process lives. One that this
// process may not trace it leaves alone.
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

// steal returns copies of the sockets that a process has, if this one may have
// them.
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

// forgedEvents are what a keeper would say of a leader that has ended with status
// 0 as the last of its run, and twice that the run is empty (keeperEvent in
// wire_unix.go). A line that carries something else takes them for garbage, which
// is no less of an attack.
var forgedEvents = slices.Concat(
	[]byte{21, 0, 0, 0, 2 * 3, 0}, make([]byte, 4+14), []byte{2},
	[]byte{1, 0, 0, 0, 2 * 4}, []byte{1, 0, 0, 0, 2 * 4},
)

// sibling starts a sleep(1) as a child of this process's parent, and returns its
// PID.
func (p *process) sibling() int {
	path, argv, err := p.sleep()
	if err != nil {
		p.fail(err)
	}
	path0, err1 := unix.BytePtrFromString(path)
	argv0, err2 := syscall.SlicePtrFromStrings(argv)
	if err := errors.Join(err1, err2); err != nil {
		p.fail(err)
	}
	none := make([]*byte, 1)
	unblock := blockAll(p)
	pid, errno := cloneSibling(path0, &argv0[0], &none[0], uintptr(firstFile+1))
	unblock()
	if errno != 0 {
		p.fail(os.NewSyscallError("clone", errno))
	}
	runtime.KeepAlive(argv0)
	// It has done what it does when it has become the sleep, or has ended.
	for {
		row, err := proctree.Lookup(pid)
		if err != nil || len(row.Args) > 0 && row.Args[0] == argv[0] && row.SID == pid {
			return pid
		}
		if row.State == proctree.Zombie {
			p.fail(errors.New("the sibling has ended"))
		}
		time.Sleep(time.Millisecond)
	}
}

// blockAll keeps Go's handlers from running in a process that this thread forks.
func blockAll(p *process) (unblock func()) {
	runtime.LockOSThread()
	var all, old unix.Sigset_t
	for i := range all.Val {
		all.Val[i]--
	}
	if err := unix.PthreadSigmask(unix.SIG_SETMASK, &all, &old); err != nil {
		p.fail(os.NewSyscallError("rt_sigprocmask", err))
	}
	return func() {
		unix.PthreadSigmask(unix.SIG_SETMASK, &old, nil)
		runtime.UnlockOSThread()
	}
}

// cloneSibling returns in this process alone: the other one executes, with the
// descriptor fd, or ends. The signals that are blocked are so there too, but for
// those that nobody can block.
//
//go:norace
//go:nosplit
func cloneSibling(path *byte, argv, env **byte, fd uintptr) (int, syscall.Errno) {
	pid, _, errno := syscall.RawSyscall6(unix.SYS_CLONE, unix.CLONE_PARENT|uintptr(unix.SIGCHLD), 0, 0, 0, 0, 0)
	if errno != 0 || pid != 0 {
		return int(pid), errno
	}
	syscall.RawSyscall(unix.SYS_SETSID, 0, 0, 0)
	syscall.RawSyscall(unix.SYS_FCNTL, fd, unix.F_SETFD, 0)
	syscall.RawSyscall(unix.SYS_EXECVE, uintptr(unsafe.Pointer(path)), uintptr(unsafe.Pointer(argv)), uintptr(unsafe.Pointer(env)))
	for {
		syscall.RawSyscall(unix.SYS_EXIT_GROUP, failed, 0, 0)
	}
}

// mostForks bounds the child fork-limit.
const mostForks = 200

// forkToLimit sets a limit for itself and the helpers in its arguments, and
// starts processes until that is reached.
func forkToLimit(p *process) {
	signal.Ignore(polite...)
	helpers := p.numbers()
	if err := p.limitProcesses(helpers); err != nil {
		p.fail(err)
	}
	path, argv, err := p.sleep()
	if err != nil {
		p.fail(err)
	}
	runtime.LockOSThread() // for good: they end with their parent, so that the test need not know them
	attr := &syscall.ProcAttr{
		Files: []uintptr{^uintptr(0), ^uintptr(0), ^uintptr(0), p.oracle.Fd()},
		Sys:   &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL},
	}
	for range mostForks {
		if _, err := syscall.ForkExec(path, argv, attr); err != nil {
			break
		}
	}
	p.named(os.Getpid(), "forker")
	p.stay()
}

// limitProcesses leaves room for half of mostForks. A user has a limit of its own,
// which does not hold for root; root has a control group of version 1.
func (p *process) limitProcesses(helpers []int) error {
	if os.Geteuid() != 0 {
		table, err := proctree.Snapshot()
		if err != nil {
			return err
		}
		tasks := uint64(mostForks / 2)
		for _, row := range table {
			if row.User == strconv.Itoa(os.Getuid()) {
				tasks += uint64(row.Threads)
			}
		}
		for _, pid := range append(helpers, 0) {
			if err := unix.Prlimit(pid, unix.RLIMIT_NPROC, &unix.Rlimit{Cur: tasks, Max: tasks}, nil); err != nil {
				return os.NewSyscallError("prlimit", err)
			}
		}
		return nil
	}
	parent, err := poor.GroupParent()
	if err != nil || unix.Access(parent, unix.W_OK) != nil { // it may be read-only
		return nil // mostForks is the limit
	}
	dir := filepath.Join(parent, fmt.Sprintf("corral-escape-%d-%d", os.Getpid(), time.Now().UnixNano()))
	p.makes(dir)
	err = os.Mkdir(dir, 0o755)
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "pids.max"), []byte(strconv.Itoa(mostForks/2)), 0)
	}
	for _, pid := range append(helpers, os.Getpid()) {
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte(strconv.Itoa(pid)), 0)
		}
	}
	return err
}

// Storm returns a child whose leader has started chains of processes, each of
// which forks the next one and ends, as fast as that goes, until life is over. They
// are not reported, and block all signals. It is not among All.
func Storm(chains int, life time.Duration) Child {
	return Child{
		Name:    stormRole,
		Doc:     fmt.Sprintf("%d chains for %v", chains, life),
		Members: 1,
		args:    []string{strconv.Itoa(chains), strconv.FormatInt(life.Milliseconds(), 10)},
	}
}

const stormRole = "storm"

func init() {
	addMember(stormRole, func(p *process) {
		n := p.numbers()
		chains, life := min(n[0], 100), min(time.Duration(n[1])*time.Millisecond, Lifetime/2)
		var now unix.Timespec
		if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
			p.fail(err)
		}
		weather := &storm{until: now.Nano() + life.Nanoseconds()}
		unblock := blockAll(p)
		for range chains {
			if errno := weather.fork(); errno != 0 {
				p.fail(os.NewSyscallError("clone", errno))
			}
		}
		unblock()
		p.lead()
	})
}

// storm is all that a chain knows.
type storm struct {
	until int64
	now   unix.Timespec
}

// fork starts a chain. It returns in this process alone.
//
//go:norace
//go:nosplit
func (s *storm) fork() syscall.Errno {
	pid, _, errno := syscall.RawSyscall6(unix.SYS_CLONE, uintptr(unix.SIGCHLD), 0, 0, 0, 0, 0)
	if errno != 0 || pid != 0 {
		return errno
	}
	for {
		syscall.RawSyscall(unix.SYS_CLOCK_GETTIME, unix.CLOCK_MONOTONIC, uintptr(unsafe.Pointer(&s.now)), 0)
		if int64(s.now.Sec)*1e9+int64(s.now.Nsec) > s.until {
			break
		}
		pid, _, errno = syscall.RawSyscall6(unix.SYS_CLONE, uintptr(unix.SIGCHLD), 0, 0, 0, 0, 0)
		if errno != 0 || pid != 0 {
			break
		}
	}
	for {
		syscall.RawSyscall(unix.SYS_EXIT_GROUP, 0, 0, 0)
	}
}

// KillHelper is a child whose leader kills its own parent by force, as soon as it
// has started an "ignorer" in another session, which ignores SIGHUP, SIGINT and
// SIGTERM and whose parent is gone. It does so only to a keeper that the test has
// started, not to the init of a namespace, which would not notice.
func KillHelper() Child { return killHelper }

var killHelper = Child{
	Name:    "kill-helper",
	Doc:     `an "ignorer"; the leader has killed its own parent, if that was a keeper`,
	Members: 2,
}

func init() {
	addMember(killHelper.Name, func(p *process) {
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
	})
}
