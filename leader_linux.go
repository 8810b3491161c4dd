package corral

import (
	"context"
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// awaitExit returns when p, a child of this process, has ended, and leaves it
// to be reaped. It blocks a thread in poll(2), as os.Process.Wait does in
// waitid(2): waking a goroutine by way of the runtime's poller instead would
// cost a tenth of what a short command takes.
func awaitExit(ctx context.Context, p *os.Process) error {
	wake, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return os.NewSyscallError("eventfd", err)
	}
	defer unix.Close(wake)
	woken := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(woken)
		unix.Write(wake, []byte{1, 0, 0, 0, 0, 0, 0, 0})
	})
	defer func() {
		if !stop() {
			<-woken // it may be about to write to the descriptor
		}
	}()
	var failed error
	err = p.WithHandle(func(pidfd uintptr) {
		fds := []unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}, {Fd: int32(wake), Events: unix.POLLIN}}
		for {
			_, perr := unix.Poll(fds, -1)
			if perr != unix.EINTR {
				failed = os.NewSyscallError("poll", perr)
				break
			}
		}
		if failed == nil && fds[0].Revents == 0 {
			failed = context.Cause(ctx)
		}
	})
	switch {
	case errors.Is(err, os.ErrNoHandle):
		return awaitExitByPID(ctx, p)
	case errors.Is(err, os.ErrProcessDone):
		return nil // the caller has waited for it by os.Process.Wait
	}
	return errors.Join(err, failed)
}

// awaitExitByPID is awaitExit for kernels without pidfds. If ctx is done first,
// a goroutine stays until p has ended.
func awaitExitByPID(ctx context.Context, p *os.Process) error {
	ended := make(chan error, 1)
	go func() {
		for {
			err := unix.Waitid(unix.P_PID, p.Pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
			if err == unix.EINTR {
				continue
			}
			if err == unix.ECHILD {
				err = nil // as above
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
