//go:build linux || darwin || freebsd

// Package wakepoll waits for descriptors in a thread, and for a context.
package wakepoll

import (
	"context"
	"os"

	"golang.org/x/sys/unix"
)

// Poll is poll(2), which ctx being done ends as well: with 0, and no error. The
// timeout is in milliseconds; negative is none. It blocks a thread.
func Poll(ctx context.Context, fds []unix.PollFd, timeout int) (n int, err error) {
	wake, err := newWake()
	if err != nil {
		return 0, err
	}
	defer wake.close()
	woken := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(woken)
		unix.Write(wake.in, []byte{1, 0, 0, 0, 0, 0, 0, 0})
	})
	defer func() {
		if !stop() {
			<-woken // it may be about to write to the descriptor
		}
	}()
	all := append(fds[:len(fds):len(fds)], unix.PollFd{Fd: int32(wake.out), Events: unix.POLLIN})
	for {
		n, err = unix.Poll(all, timeout)
		if err != unix.EINTR {
			break
		}
	}
	if n > 0 && all[len(fds)].Revents != 0 {
		n--
	}
	copy(fds, all)
	return max(n, 0), os.NewSyscallError("poll", err)
}
