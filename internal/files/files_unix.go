//go:build unix

package files

import (
	"errors"
	"io/fs"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// ReadAvailable reads what is in the pipe without waiting for more, whatever its
// deadline. open says that a writer may still have it open.
func ReadAvailable(pipe *os.File) (data []byte, open bool, err error) {
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

// HasOtherEnd reports whether a process has the other end of the pipe or terminal
// open.
func HasOtherEnd(f *os.File) bool {
	events, err := pollNow(f)
	return err == nil && events&(unix.POLLHUP|unix.POLLNVAL) == 0
}

// WriteError returns the error that a write to f would return if nobody reads from
// it, or nil if somebody does.
func WriteError(f *os.File) error {
	if events, err := pollNow(f); err != nil || events&(unix.POLLERR|unix.POLLHUP) == 0 {
		return nil
	}
	return &fs.PathError{Op: "write", Path: f.Name(), Err: unix.EPIPE}
}

// Duplicate returns another file for the pipe, which the runtime can poll.
func Duplicate(f *os.File) (*os.File, error) {
	conn, err := f.SyscallConn()
	if err != nil {
		return nil, err
	}
	dup := -1
	cerr := conn.Control(func(fd uintptr) {
		syscall.ForkLock.RLock()
		defer syscall.ForkLock.RUnlock()
		if dup, err = unix.Dup(int(fd)); err == nil {
			unix.CloseOnExec(dup)
			err = unix.SetNonblock(dup, true) // the caller may have used Fd
		}
	})
	switch {
	case cerr != nil:
		return nil, cerr
	case err != nil:
		unix.Close(dup)
		return nil, os.NewSyscallError("dup", err)
	}
	return os.NewFile(uintptr(dup), f.Name()), nil
}

// pollNow returns what poll(2) says of f unasked: hang-ups and errors. A pending
// signal ends the call with EINTR even if it does not wait (do_poll in Linux's
// fs/select.c), and Go's runtime often sends signals to its own threads.
func pollNow(f *os.File) (events int, err error) {
	conn, err := f.SyscallConn()
	if err != nil {
		return 0, err
	}
	cerr := conn.Control(func(fd uintptr) {
		fds := []unix.PollFd{{Fd: int32(fd)}}
		for {
			if _, err = unix.Poll(fds, 0); err != unix.EINTR {
				break
			}
		}
		events = int(fds[0].Revents)
	})
	return events, errors.Join(cerr, err)
}

// HungUp reports whether the other end of f is closed.
func HungUp(f *os.File) bool {
	events, err := pollNow(f)
	return err != nil || events != 0
}

// WithFD calls do with f's descriptor, which stays f's until do returns. File.Fd
// would make the file blocking.
func WithFD(f *os.File, do func(fd int) error) error {
	conn, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	if conn.Control(func(fd uintptr) { failed = do(int(fd)) }) != nil {
		return os.ErrClosed
	}
	return failed
}
