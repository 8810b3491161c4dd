package corral

import (
	"iter"
	"syscall"

	"golang.org/x/sys/unix"
)

// socketpair closes on exec with two calls, between which no other goroutine may
// start a program.
func socketpair() ([2]int, error) {
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err == nil {
		unix.CloseOnExec(fds[0])
		unix.CloseOnExec(fds[1])
	}
	return fds, err
}

const receiveClosedOnExec = 0 // there is no such flag

func mayBeOpen() iter.Seq[int] { return listed("/dev/fd") }
