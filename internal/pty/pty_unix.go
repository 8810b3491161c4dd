//go:build linux || darwin || freebsd

package pty

import (
	"errors"
	"fmt"
	"os"
	"syscall"

	"github.com/corral-run/corral/internal/files"
	"github.com/corral-run/corral/internal/osproc"
	"golang.org/x/sys/unix"
)

// Open opens both ends of a new pseudo-terminal with the settings. The runtime
// polls the master, where that works, so that reads can have a deadline. The
// command's end is blocking, as programs expect.
func Open(s Settings) (master, tty *os.File, err error) {
	master, tty, err = openEnds()
	if err != nil {
		return nil, nil, fmt.Errorf("cannot open a pseudo-terminal: %w", err)
	}
	if err = s.apply(tty); err != nil {
		master.Close()
		tty.Close()
		return nil, nil, fmt.Errorf("cannot set up the pseudo-terminal: %w", err)
	}
	return master, tty, nil
}

// openEnds opens both ends of a new pseudo-terminal.
func openEnds() (master, tty *os.File, err error) {
	fd, err := openMaster()
	if err != nil {
		return nil, nil, err
	}
	end, err := openEnd(fd)
	if err == nil && terminalsPolled {
		if err = unix.SetNonblock(fd, true); err != nil {
			unix.Close(end)
		}
	}
	if err != nil {
		unix.Close(fd)
		return nil, nil, err
	}
	return os.NewFile(uintptr(fd), "pseudo-terminal"), os.NewFile(uintptr(end), "the command's end of a pseudo-terminal"), nil
}

// openDevice opens a terminal without making it this process's own.
func openDevice(name string) (fd int, err error) {
	for {
		fd, err = unix.Open(name, unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
		if err != unix.EINTR {
			break
		}
	}
	if err != nil {
		return -1, &os.PathError{Op: "open", Path: name, Err: err}
	}
	return fd, nil
}

// apply gives tty its size and modes.
func (s Settings) apply(tty *os.File) error {
	size := unix.Winsize{Row: 24, Col: 80}
	var modes *unix.Termios
	var err error
	if s.Like != nil {
		err = files.WithFD(s.Like, func(fd int) (err error) {
			if modes, err = unix.IoctlGetTermios(fd, getTermios); err != nil {
				return err
			}
			if like, err := unix.IoctlGetWinsize(fd, unix.TIOCGWINSZ); err == nil && like.Row > 0 && like.Col > 0 {
				size = *like
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("settings of %s: %w", s.Like.Name(), err)
		}
	}
	if s.Rows > 0 {
		size.Row, size.Ypixel = s.Rows, 0
	}
	if s.Cols > 0 {
		size.Col, size.Xpixel = s.Cols, 0
	}
	return files.WithFD(tty, func(fd int) (err error) {
		if modes == nil {
			if modes, err = unix.IoctlGetTermios(fd, getTermios); err != nil {
				return err
			}
		}
		if s.NoEcho {
			modes.Lflag &^= unix.ECHO
		}
		return errors.Join(
			unix.IoctlSetTermios(fd, setTermios, modes),
			unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &size))
	})
}

// Resize sets the size of a terminal.
func Resize(master *os.File, rows, cols uint16) error {
	return files.WithFD(master, func(fd int) error {
		return os.NewSyscallError("ioctl TIOCSWINSZ", unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: rows, Col: cols}))
	})
}

// EndOfFile returns the end-of-file character, and whether the terminal edits
// lines.
func EndOfFile(master *os.File) (char byte, lines bool, err error) {
	err = files.WithFD(master, func(fd int) error {
		modes, err := unix.IoctlGetTermios(fd, getTermios)
		if err == nil {
			char, lines = modes.Cc[unix.VEOF], modes.Lflag&unix.ICANON != 0
		}
		return os.NewSyscallError("ioctl", err)
	})
	if !lines {
		char = 4 // Ctrl-D, for programs that edit lines themselves
	}
	return char, lines, err
}

// IsHangUp reports whether err is how Linux says that nobody has the other end
// open: pty(7).
func IsHangUp(err error) bool { return errors.Is(err, syscall.EIO) }

// SessionAttr returns attr for the leader of a session that has standard input as
// its terminal.
func SessionAttr(attr *syscall.SysProcAttr) (*syscall.SysProcAttr, error) {
	session := osproc.CopyAttr(attr)
	for name, asked := range map[string]bool{
		"Setpgid": session.Setpgid, "Foreground": session.Foreground, "Setctty": session.Setctty, "Noctty": session.Noctty,
	} {
		if asked {
			return nil, fmt.Errorf("corral: SysProcAttr.%s does not go with a PTY: the command leads the session of its terminal", name)
		}
	}
	session.Setsid, session.Setctty, session.Ctty = true, true, 0
	return session, nil
}
