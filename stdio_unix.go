//go:build unix

package corral

import (
	"os"

	"golang.org/x/sys/unix"
)

// readAvailable reads what is in the pipe without waiting for more, whatever
// its deadline. open says that a writer may still hold it.
func readAvailable(pipe *os.File) (data []byte, open bool, err error) {
	conn, err := pipe.SyscallConn()
	if err != nil {
		return nil, false, err
	}
	// A writer that never stops must not keep us: this is the largest size an
	// unprivileged pipe can have (pipe(7), pipe-max-size).
	const most = 1 << 20
	open = true
	ctlErr := conn.Control(func(fd uintptr) {
		buf := make([]byte, 64<<10)
		for len(data) < most {
			n, rerr := unix.Read(int(fd), buf)
			switch {
			case rerr == unix.EINTR:
				continue
			case rerr == unix.EAGAIN:
				return
			case rerr != nil:
				err = os.NewSyscallError("read", rerr)
				return
			case n == 0:
				open = false
				return
			}
			data = append(data, buf[:n]...)
		}
	})
	if err == nil {
		err = ctlErr
	}
	return data, open, err
}

// isHeld reports whether a process has the other end of the pipe open, or of the
// terminal.
func isHeld(f *os.File) (held bool) {
	conn, err := f.SyscallConn()
	if err != nil {
		return false
	}
	conn.Control(func(fd uintptr) {
		fds := []unix.PollFd{{Fd: int32(fd)}}
		_, err := unix.Poll(fds, 0)
		held = err == nil && fds[0].Revents&(unix.POLLHUP|unix.POLLNVAL) == 0
	})
	return held
}
