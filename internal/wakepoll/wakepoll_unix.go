//go:build linux || darwin || freebsd

// Package wakepoll waits for descriptors, and for a context, in one thread.
package wakepoll

import (
	"context"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Poll is poll(2), which also returns, with 0 and no error, when ctx is done. The
// timeout is in milliseconds; negative is none. It blocks a thread.
//
// ctx wakes it by a descriptor. As long as there is none to be had, Poll looks at
// ctx again and again.
func Poll(ctx context.Context, fds []unix.PollFd, timeout int) (n int, err error) {
	if ctx.Done() == nil {
		return poll(fds, timeout)
	}
	for {
		if wake, err := newWake(); err == nil {
			defer wake.close()
			return wake.poll(ctx, fds, timeout)
		}
		part := timeout
		if timeout < 0 || timeout > slice {
			part = slice
		}
		n, err := poll(fds, part)
		if n != 0 || err != nil || part == timeout || ctx.Err() != nil {
			return n, err
		}
		if timeout > 0 {
			timeout -= part
		}
	}
}

// slice is how many milliseconds pass between two looks at the context.
const slice = 20

func (w wake) poll(ctx context.Context, fds []unix.PollFd, timeout int) (n int, err error) {
	woken := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(woken)
		unix.Write(w.in, []byte{1, 0, 0, 0, 0, 0, 0, 0})
	})
	defer func() {
		if !stop() {
			<-woken // the function may be about to write to the descriptor
		}
	}()
	all := append(fds[:len(fds):len(fds)], unix.PollFd{Fd: int32(w.out), Events: unix.POLLIN})
	n, err = poll(all, timeout)
	if n > 0 && all[len(fds)].Revents != 0 {
		n--
	}
	copy(fds, all)
	return n, err
}

// poll waits no longer for the signals that interrupt it: a profiler sends a hundred
// in a second.
func poll(fds []unix.PollFd, timeout int) (n int, err error) {
	began := time.Now()
	for left := timeout; ; {
		n, err = unix.Poll(fds, left)
		if err == unix.EINVAL {
			n, err = pollMore(fds, left)
		}
		if err != unix.EINTR {
			return max(n, 0), os.NewSyscallError("poll", err)
		}
		if timeout > 0 {
			left = max(0, timeout-int(time.Since(began).Milliseconds()))
		}
	}
}
