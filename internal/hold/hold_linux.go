package hold

import (
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/corral-run/corral/internal/proctree"
	"golang.org/x/sys/unix"
)

// Ready returns why this process cannot wait for a run, or nil if it can.
func Ready() error {
	if err := canWaitID(); err != nil {
		return err
	}
	return startPoller()
}

// canWaitID returns why waitid(2) does not work: a seccomp filter may forbid it.
var canWaitID = sync.OnceValue(func() error {
	err := unix.Waitid(unix.P_ALL, 0, nil, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil)
	if err == nil || err == unix.ECHILD || err == unix.EINTR {
		return nil
	}
	return fmt.Errorf("waitid(2) does not work here: %w", err)
})

// startPoller has Go's runtime make its poller now. The runtime does so for the
// first timer, and ends the program if it gets no descriptors for it. So a stop
// must not be the first to need a timer.
func startPoller() error {
	if pollerStarted.Load() {
		return nil
	}
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return os.NewSyscallError("epoll_create1", err)
	}
	event, err := unix.Eventfd(0, unix.EFD_CLOEXEC)
	if err == nil {
		unix.Close(event)
	}
	unix.Close(epoll)
	if err != nil {
		return os.NewSyscallError("eventfd", err)
	}
	time.AfterFunc(time.Hour, func() {}).Stop()
	pollerStarted.Store(true)
	return nil
}

var pollerStarted atomic.Bool

// TableUsable returns why the process table cannot be read, and what to do about
// it, or nil if it can be read.
func TableUsable() error {
	if err := proctree.Usable(); err != nil {
		return fmt.Errorf("/proc is not mounted, or is not that of this PID namespace: mount -t proc proc /proc (%w)", err)
	}
	return nil
}

// NeedsOwnThread reports whether the thread that starts the command must live
// as long as the command does: the kernel sends the parent-death signal when
// the thread that forked ends, not the process (golang/go#27505).
func NeedsOwnThread(attr *syscall.SysProcAttr) bool { return attr != nil && attr.Pdeathsig != 0 }
