//go:build linux || darwin || freebsd

package corral

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/corral-run/corral/internal/wakepoll"
)

func watchTTY() (lost func(context.Context) error, close func() error, err error) {
	fd, err := unix.Open("/dev/tty", unix.O_RDWR|unix.O_NOCTTY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.ENXIO) {
		return nil, nil, errors.New("there is no controlling terminal")
	}
	if err != nil {
		return nil, nil, &os.PathError{Op: "open", Path: "/dev/tty", Err: err}
	}
	return watchHangUp(fd)
}

func watchDescriptor(n int) (lost func(context.Context) error, close func() error, err error) {
	fd, err := unix.FcntlInt(uintptr(n), unix.F_DUPFD_CLOEXEC, 0)
	if err == unix.EBADF {
		return nil, nil, errors.New("no such descriptor is open")
	}
	if err != nil {
		return nil, nil, os.NewSyscallError("dup", err)
	}
	if n > 2 {
		unix.CloseOnExec(n)
	}
	return watchHangUp(fd)
}

// watchHangUp takes fd over.
func watchHangUp(fd int) (lost func(context.Context) error, close func() error, err error) {
	close = func() error { return os.NewSyscallError("close", unix.Close(fd)) }
	lost = func(ctx context.Context) error { return awaitHangUp(ctx, fd) }
	if err = tellsHangUp(fd); err != nil {
		close()
		return nil, nil, err
	}
	return lost, close, nil
}

// awaitHangUp returns nil when the other end of fd has been closed. It blocks a
// thread, and reads nothing.
func awaitHangUp(ctx context.Context, fd int) error {
	// POLLHUP and POLLERR come unasked.
	fds := []unix.PollFd{{Fd: int32(fd), Events: hangUpEvents}}
	n, err := wakepoll.Poll(ctx, fds, -1)
	switch {
	case err != nil:
		return err
	case n == 0:
		return context.Cause(ctx)
	case fds[0].Revents&unix.POLLNVAL != 0:
		return errors.ErrUnsupported
	}
	return nil
}

// tellsHangUp returns why poll(2) cannot say that the other end of fd has been
// closed, nil if it can.
func tellsHangUp(fd int) error {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return os.NewSyscallError("fstat", err)
	}
	what, or := "a file", ""
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFIFO:
		return nil
	case unix.S_IFSOCK:
		kind, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE)
		listens, lerr := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ACCEPTCONN)
		if err == nil && lerr == nil && listens == 0 && (kind == unix.SOCK_STREAM || kind == unix.SOCK_SEQPACKET) {
			return nil
		}
		what = "a socket without a connection"
	case unix.S_IFCHR:
		if _, err := unix.IoctlGetWinsize(fd, unix.TIOCGWINSZ); err == nil {
			return errTTY
		}
		what = "a device"
		var null unix.Stat_t
		if unix.Stat(os.DevNull, &null) == nil && null.Rdev == st.Rdev {
			what = "the null device"
			if fd <= 2 {
				or = ", or it was closed: Go's runtime has opened that in its place"
			}
		}
	case unix.S_IFDIR:
		what = "a directory"
	}
	return fmt.Errorf("it is %s, which cannot tell that anybody has gone%s", what, or)
}

// fileReader reads a file until it is told to stop.
type fileReader struct {
	file     *os.File
	terminal bool
	ctx      context.Context
	cancel   context.CancelFunc
}

func watchInput(f *os.File) (inputReader, error) {
	r, err := newFileReader(f)
	switch {
	case err != nil:
		return nil, err
	case r.terminal:
		return nil, fmt.Errorf("it is a terminal: use lifeline %s", LifelineTTY)
	}
	if err := r.control(tellsHangUp); err != nil {
		return nil, err
	}
	return r, nil
}

func readInput(f *os.File) (inputReader, error) { return newFileReader(f) }

func newFileReader(f *os.File) (*fileReader, error) {
	if f == nil {
		return nil, os.ErrInvalid
	}
	r := &fileReader{file: f}
	if err := r.control(func(fd int) error {
		_, err := unix.IoctlGetWinsize(fd, unix.TIOCGWINSZ)
		r.terminal = err == nil
		return nil
	}); err != nil {
		return nil, err
	}
	r.ctx, r.cancel = context.WithCancel(context.Background())
	return r, nil
}

func (r *fileReader) stop() { r.cancel() }

// Read does not make the file non-blocking: others may have it open, and share that
// flag.
func (r *fileReader) Read(b []byte) (n int, err error) {
	err = r.control(func(fd int) error {
		for {
			ready, err := wakepoll.Poll(r.ctx, []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, -1)
			if err != nil {
				return err
			}
			if ready == 0 {
				return context.Cause(r.ctx)
			}
			if r.terminal && inBackground(fd) {
				if err := r.pause(); err != nil {
					return err
				}
				continue
			}
			n, err = unix.Read(fd, b)
			switch {
			case err == unix.EINTR, err == unix.EAGAIN: // somebody else has read it
			case err == unix.EIO && r.terminal: // it has been hung up
				return io.EOF
			case err != nil:
				n = 0
				return &os.PathError{Op: "read", Path: r.file.Name(), Err: err}
			case n == 0:
				return io.EOF
			default:
				return nil
			}
		}
	})
	return n, err
}

// inBackground reports whether fd is the controlling terminal of this process, which
// is not in its foreground. Whoever reads it then is stopped (SIGTTIN), and the owner
// has more to do than to read.
func inBackground(fd int) bool {
	foreground, err := unix.IoctlGetInt(fd, unix.TIOCGPGRP)
	return err == nil && foreground != unix.Getpgrp()
}

// pause waits a moment. Nothing tells that the owner has come to the foreground.
func (r *fileReader) pause() error {
	select {
	case <-r.ctx.Done():
		return context.Cause(r.ctx)
	case <-time.After(100 * time.Millisecond):
		return nil
	}
}

func (r *fileReader) hungUp(ctx context.Context) error {
	return r.control(func(fd int) error { return awaitHangUp(ctx, fd) })
}

// control calls f with the descriptor, which stays the file's until f returns.
func (r *fileReader) control(f func(fd int) error) error {
	conn, err := r.file.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	if err := conn.Control(func(fd uintptr) { failed = f(int(fd)) }); err != nil {
		return err
	}
	return failed
}
