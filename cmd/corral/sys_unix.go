//go:build linux || darwin || freebsd

package main

import (
	"os"
	"os/exec"
	"syscall"

	"github.com/corral-run/corral/internal/disposition"
	"github.com/corral-run/corral/internal/files"
	"golang.org/x/sys/unix"
)

// errNotExecutable: the file is neither a program nor a script with a #! line.
const errNotExecutable = syscall.ENOEXEC

// defaultUTF8: without a locale the system speaks ASCII (the POSIX locale).
const defaultUTF8 = false

// The shell that execvp(3) gives scripts without a #! line to, and where it looks
// if there is no PATH.
const (
	scriptShell = "/bin/sh"
	defaultPath = "/bin:/usr/bin"
)

// defaultShell is the shell of -c: that of system(3).
const defaultShell = scriptShell

// noDashC reports whether a shell cannot be given a command line by -c.
func noDashC(string) bool { return false }

// sameVariable reports whether two names are of one variable of the environment.
func sameVariable(a, b string) bool { return a == b }

// ownSession has a command start in a session of its own.
func ownSession(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} }

// takeStdin returns the file that is standard input, which is the null device from
// then on. What corral starts does not inherit it.
func takeStdin() (*os.File, error) {
	fd, err := unix.FcntlInt(0, unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		return nil, os.NewSyscallError("fcntl F_DUPFD_CLOEXEC", err)
	}
	f := os.NewFile(uintptr(fd), "standard input")
	null, err := unix.Open(os.DevNull, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		f.Close()
		return nil, &os.PathError{Op: "open", Path: os.DevNull, Err: err}
	}
	defer unix.Close(null)
	if err := unix.Dup2(null, 0); err != nil {
		f.Close()
		return nil, os.NewSyscallError("dup2", err)
	}
	return f, nil
}

// maybeClosedStreams names the standard streams that may have been closed when
// corral was started: Go's runtime opens the null device for reading and writing
// then. Many programs give their children such a one, so this is never certain.
func maybeClosedStreams() []string {
	var null unix.Stat_t
	if unix.Stat(os.DevNull, &null) != nil {
		return nil
	}
	var names []string
	for fd, name := range []string{"stdin", "stdout", "stderr"} {
		var st unix.Stat_t
		flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
		if err == nil && flags&unix.O_ACCMODE == unix.O_RDWR && unix.Fstat(fd, &st) == nil && st.Rdev == null.Rdev {
			names = append(names, name)
		}
	}
	return names
}

// exitStatus is the status a shell gives for a command that ended this way.
func exitStatus(p *os.ProcessState) int {
	if ws, ok := p.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		return statusSignal + int(ws.Signal())
	}
	return p.ExitCode()
}

// readerGone reports whether nobody reads a pipe any more, or a terminal is gone.
func readerGone(f *os.File) bool { return files.WriteError(f) != nil }

// endUnread ends corral as a write does to a pipe that nobody reads any more: by
// SIGPIPE, or with an error if that is ignored.
func endUnread(f *os.File) error {
	if !disposition.Ignored(syscall.SIGPIPE) {
		disposition.EndLike(syscall.WaitStatus(syscall.SIGPIPE))
	}
	return &os.PathError{Op: "write", Path: f.Name(), Err: syscall.EPIPE}
}
