//go:build linux || darwin || freebsd

package corral

import (
	"errors"
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// open opens a terminal with the settings that are asked for. The second file is
// the command's end.
func (p *PTY) open(copied bool) (*terminal, *os.File, error) {
	master, tty, err := openTerminal()
	if err != nil {
		return nil, nil, fmt.Errorf("corral: cannot open a pseudo-terminal: %w", err)
	}
	t := &terminal{master: master, copied: copied}
	switch err = p.set(tty); {
	case err != nil:
		err = fmt.Errorf("corral: cannot set up the pseudo-terminal: %w", err)
	case !p.terminal.CompareAndSwap(nil, t):
		err = errors.New("corral: the PTY is another command's")
	}
	if err != nil {
		master.Close()
		tty.Close()
		return nil, nil, err
	}
	return t, tty, nil
}

// openTerminal opens both ends of a new pseudo-terminal. Reading from the master is a
// matter for the runtime's poller, where that works, so that it can be given a deadline;
// the command's end is blocking, as programs expect it.
func openTerminal() (master, tty *os.File, err error) {
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

// openDevice opens a terminal that is not to become this process's own.
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

func (p *PTY) set(tty *os.File) error {
	size := unix.Winsize{Row: 24, Col: 80}
	var modes *unix.Termios
	var err error
	if p.Like != nil {
		err = control(p.Like, func(fd int) (err error) {
			if modes, err = unix.IoctlGetTermios(fd, getTermios); err != nil {
				return err
			}
			if like, err := unix.IoctlGetWinsize(fd, unix.TIOCGWINSZ); err == nil && like.Row > 0 && like.Col > 0 {
				size = *like
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("settings of %s: %w", p.Like.Name(), err)
		}
	}
	if p.Rows > 0 {
		size.Row, size.Ypixel = p.Rows, 0
	}
	if p.Cols > 0 {
		size.Col, size.Xpixel = p.Cols, 0
	}
	return control(tty, func(fd int) (err error) {
		if modes == nil {
			if modes, err = unix.IoctlGetTermios(fd, getTermios); err != nil {
				return err
			}
		}
		if p.NoEcho {
			modes.Lflag &^= unix.ECHO
		}
		return errors.Join(
			unix.IoctlSetTermios(fd, setTermios, modes),
			unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &size))
	})
}

// control is for what File.Fd would do as well, if it did not make the file
// blocking.
func control(f *os.File, do func(fd int) error) error {
	conn, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var derr error
	if conn.Control(func(fd uintptr) { derr = do(int(fd)) }) != nil {
		return os.ErrClosed
	}
	return derr
}

func (t *terminal) resize(rows, cols uint16) error {
	return control(t.master, func(fd int) error {
		return os.NewSyscallError("ioctl TIOCSWINSZ", unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: rows, Col: cols}))
	})
}

// endOfFile returns the end-of-file character, and whether the terminal edits
// lines.
func (t *terminal) endOfFile() (char byte, lines bool, err error) {
	err = control(t.master, func(fd int) error {
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

// isHangUp reports whether err is how Linux says that nobody has the other end
// open: pty(7).
func isHangUp(err error) bool { return errors.Is(err, syscall.EIO) }

// lead returns the attributes of the leader of a session with standard input as
// its terminal.
func lead(attr *syscall.SysProcAttr) (*syscall.SysProcAttr, error) {
	led := new(syscall.SysProcAttr)
	if attr != nil {
		*led = *attr
	}
	for name, asked := range map[string]bool{
		"Setpgid": led.Setpgid, "Foreground": led.Foreground, "Setctty": led.Setctty, "Noctty": led.Noctty,
	} {
		if asked {
			return nil, fmt.Errorf("corral: SysProcAttr.%s and a PTY cannot be had together: the command leads the session of its terminal", name)
		}
	}
	led.Setsid, led.Setctty, led.Ctty = true, true, 0
	return led, nil
}
