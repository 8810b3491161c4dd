package escape

import (
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/corral-run/corral/internal/poor"
	"github.com/corral-run/corral/internal/proctree"
	"golang.org/x/sys/unix"
)

// Nobody in its run can start another process or thread, nor can the helper.
var _ = add(Child{
	Name: "fork-limit",
	Doc: `a "forker", which ignores SIGHUP, SIGINT and SIGTERM, and has taken all processes that there are for its user ` +
		`or control group, 200 at most, as have its helper's; each of its children ignores the same`,
	Members: 2,
}, parts{
	"leader": func(p *process) {
		p.member("forker", &syscall.SysProcAttr{Setsid: true}, p.helpers())
		p.lead()
	},
	"forker": forkToLimit,
})

// mostForks bounds the child fork-limit.
const mostForks = 200

// forkToLimit sets a limit for itself and the helpers in its arguments, and
// starts processes until that is reached.
func forkToLimit(p *process) {
	signal.Ignore(polite...)
	helpers := p.numbers()
	spareThreads()
	if err := p.limitProcesses(helpers); err != nil {
		p.fail(err)
	}
	path, argv, err := p.sleep()
	if err != nil {
		p.fail(err)
	}
	// For good: they end with this thread, so the test need not know them.
	runtime.LockOSThread()
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

// spareThreads has Go's runtime make threads that it can use later: it ends a process
// for which it gets no more.
func spareThreads() {
	const enough = 8
	nap := unix.NsecToTimespec((20 * time.Millisecond).Nanoseconds())
	var blocked sync.WaitGroup
	for range enough {
		blocked.Go(func() { unix.Nanosleep(&nap, nil) })
	}
	blocked.Wait()
}

// limitProcesses leaves room for half of mostForks: by the limit of the user, or,
// as that does not hold for root, by a control group of version 1.
func (p *process) limitProcesses(helpers []int) error {
	if os.Geteuid() != 0 {
		return limitUser(append(helpers, 0))
	}
	parent, err := poor.GroupParent()
	if err != nil || unix.Access(parent, unix.W_OK) != nil { // it may be read-only
		return nil // mostForks is the limit
	}
	return p.limitGroup(parent, append(helpers, os.Getpid()))
}

func limitUser(pids []int) error {
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
	for _, pid := range pids {
		if err := unix.Prlimit(pid, unix.RLIMIT_NPROC, &unix.Rlimit{Cur: tasks, Max: tasks}, nil); err != nil {
			return os.NewSyscallError("prlimit", err)
		}
	}
	return nil
}

func (p *process) limitGroup(parent string, pids []int) error {
	dir := filepath.Join(parent, fmt.Sprintf("corral-escape-%d-%d", os.Getpid(), time.Now().UnixNano()))
	p.willMake(dir)
	err := os.Mkdir(dir, 0o755)
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "pids.max"), []byte(strconv.Itoa(mostForks/2)), 0)
	}
	for _, pid := range pids {
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte(strconv.Itoa(pid)), 0)
		}
	}
	return err
}
