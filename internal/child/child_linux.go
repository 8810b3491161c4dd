package child

import (
	"context"
	"errors"
	"os"
	"syscall"
	"time"
	"unsafe"

	"github.com/corral-run/corral/internal/osproc"
	"github.com/corral-run/corral/internal/wakepoll"
	"golang.org/x/sys/unix"
)

// AwaitExit returns when p, a child of this process with that PID, has ended, and
// leaves it to be reaped. Nobody may reap it meanwhile but by p, which may be
// released. It blocks a thread in poll(2), as os.Process.Wait does in waitid(2). To
// wake a goroutine through the runtime's poller instead would take a tenth of the
// time of a short command.
func AwaitExit(ctx context.Context, p *os.Process, pid int) error {
	_, err := awaitExitAnd(ctx, p, pid, -1, -1)
	return err
}

// AwaitExitOrHangUp is AwaitExit, but also returns, with other set, when the other
// end of line is closed, unless line is nil, or when timeout milliseconds have
// passed, unless that is negative. Without pidfds it waits for p only.
func AwaitExitOrHangUp(ctx context.Context, p *os.Process, pid int, line *os.File, timeout int) (other bool, err error) {
	if line == nil {
		return awaitExitAnd(ctx, p, pid, -1, timeout)
	}
	conn, err := line.SyscallConn()
	if err == nil {
		// The number stays the file's until Control returns.
		cerr := conn.Control(func(fd uintptr) { other, err = awaitExitAnd(ctx, p, pid, int32(fd), timeout) })
		if cerr != nil {
			return true, nil // somebody has closed it
		}
	}
	return other, err
}

// AwaitHangUp returns when the other end of line is closed, unless line is nil, when
// timeout milliseconds have passed, unless that is negative, or when ctx is done. It
// blocks a thread.
func AwaitHangUp(ctx context.Context, line *os.File, timeout int) {
	wait := func(fd uintptr) {
		if _, err := wakepoll.Poll(ctx, []unix.PollFd{{Fd: int32(fd)}}, timeout); err != nil {
			select { // not in a circle
			case <-time.After(time.Second):
			case <-ctx.Done():
			}
		}
	}
	if line == nil {
		wait(^uintptr(0))
		return
	}
	if conn, err := line.SyscallConn(); err == nil {
		conn.Control(wait)
	}
}

// headStart is how many milliseconds a wait lasts before it gets what ctx wakes it
// by, and so how late it may come to know that ctx is done: most commands are over
// by then.
const headStart = 10

func awaitExitAnd(ctx context.Context, p *os.Process, pid int, line int32, timeout int) (other bool, err error) {
	var failed error
	await := func(pidfd uintptr) {
		// poll(2) passes over negative numbers, and reports POLLHUP unasked.
		fds := []unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}, {Fd: line}}
		n := 0
		if ctx.Err() == nil && (timeout < 0 || timeout > headStart) {
			n, failed = wakepoll.Poll(context.Background(), fds, headStart)
			timeout = max(timeout-headStart, -1)
		}
		if n == 0 && failed == nil {
			_, failed = wakepoll.Poll(ctx, fds, timeout)
		}
		if failed == nil && fds[0].Revents == 0 {
			failed = context.Cause(ctx)
			other = failed == nil
		}
	}
	err = osproc.WithHandle(p, await)
	switch {
	case err == nil:
		return other, failed
	case errors.Is(err, os.ErrProcessDone):
		return false, nil // the caller has waited for it by os.Process.Wait
	case errors.Is(err, osproc.ErrNoHandle):
		return false, awaitExitByPID(ctx, pid)
	}
	// It has been released. The PID is its own until somebody reaps it.
	pidfd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return false, awaitExitByPID(ctx, pid)
	}
	defer unix.Close(pidfd)
	await(uintptr(pidfd))
	return other, failed
}

// awaitExitByPID is AwaitExit for kernels without pidfds. If ctx is done first,
// a goroutine stays until the process has ended.
func awaitExitByPID(ctx context.Context, pid int) error {
	ended := make(chan error, 1)
	go func() {
		for {
			err := unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
			if err == unix.EINTR {
				continue
			}
			if err == unix.ECHILD {
				err = nil // somebody has waited for it
			}
			ended <- os.NewSyscallError("waitid", err)
			return
		}
	}()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// anyChild has wait4(2) wait for every child, whichever thread has cloned it, and
// however.
const anyChild = unix.WALL

// Peek returns how child pid has ended, or any child if pid is 0, without reaping
// it. It returns PID 0 if none has ended.
func Peek(pid int) (got int, status syscall.WaitStatus, usage syscall.Rusage, err error) {
	kind := unix.P_PID
	if pid == 0 {
		kind = unix.P_ALL
	}
	var info unix.Siginfo
	var used unix.Rusage
	err = unix.Waitid(kind, pid, &info, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT|unix.WALL, &used)
	got, status = childOf(&info)
	return got, status, *(*syscall.Rusage)(unsafe.Pointer(&used)), err
}

// childOf reads the fields of siginfo_t that waitid(2) fills. They are in a union,
// which follows three ints and padding.
func childOf(info *unix.Siginfo) (pid int, status syscall.WaitStatus) {
	const union = (12 + unsafe.Sizeof(uintptr(0)) - 1) &^ (unsafe.Sizeof(uintptr(0)) - 1)
	field := func(n uintptr) int32 {
		return *(*int32)(unsafe.Add(unsafe.Pointer(info), union+4*n))
	}
	const exited, dumped = 1, 3 // CLD_EXITED, CLD_DUMPED
	status = syscall.WaitStatus(field(2))
	switch info.Code {
	case exited:
		status <<= 8
	case dumped:
		status |= 0x80
	}
	return int(field(0)), status
}
