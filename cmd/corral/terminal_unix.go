//go:build linux || darwin || freebsd

package main

import (
	"errors"
	"os"
	"os/signal"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
	"golang.org/x/term"

	"github.com/corral-run/corral"
	"github.com/corral-run/corral/internal/disposition"
	"github.com/corral-run/corral/internal/proctree"
)

// terminal is the controlling terminal as corral has found it, nil if there is
// none.
//
// It is opened anew for each use, so that corral is never the one that holds it
// open.
type terminal struct {
	modes *term.State // nil: corral was not in its foreground
}

func openTerminal() (*os.File, error) { return os.OpenFile("/dev/tty", os.O_RDWR, 0) }

func findTerminal() *terminal {
	f, err := openTerminal()
	if err != nil {
		return nil
	}
	defer f.Close()
	t := new(terminal)
	if foregroundGroup(f) == unix.Getpgrp() {
		t.modes, _ = term.GetState(int(f.Fd()))
	}
	return t
}

// foregroundGroup is the process group that the terminal serves, 0 if that cannot
// be told.
func foregroundGroup(tty *os.File) int {
	group, err := unix.IoctlGetInt(int(tty.Fd()), unix.TIOCGPGRP)
	if err != nil {
		return 0
	}
	return group
}

// hungUp reports whether the terminal is gone: closed, or the connection to it
// lost.
func (t *terminal) hungUp() bool {
	if t == nil {
		return false
	}
	f, err := openTerminal()
	if err == nil {
		f.Close()
	}
	return errors.Is(err, unix.ENXIO) || errors.Is(err, unix.EIO) // and not, say, that there is no descriptor left
}

// restore makes the terminal what it was, as a shell does after its jobs. The
// foreground is corral's again if the group that has it is gone. So are the modes,
// unless the command succeeded, and may have been there to change them (stty). A
// terminal that serves somebody else by now is left alone.
func (t *terminal) restore(succeeded bool) {
	if t == nil || t.modes == nil {
		return
	}
	f, err := openTerminal()
	if err != nil {
		return
	}
	defer f.Close()
	signal.Ignore(syscall.SIGTTOU) // the kernel sends it for what follows to a process in the background
	own, now := unix.Getpgrp(), foregroundGroup(f)
	if now != own {
		if now <= 1 || unix.Kill(-now, 0) != unix.ESRCH {
			return
		}
		unix.IoctlSetPointerInt(int(f.Fd()), unix.TIOCSPGRP, own)
	}
	if !succeeded {
		term.Restore(int(f.Fd()), t.modes)
	}
}

// signalKeys are the keys of a terminal for the signals that end a command.
func signalKeys(tty *os.File) map[byte]syscall.Signal {
	keys := make(map[byte]syscall.Signal)
	modes, err := unix.IoctlGetTermios(int(tty.Fd()), getTermios)
	if err == nil && modes.Lflag&unix.ISIG != 0 {
		keys[modes.Cc[unix.VINTR]] = syscall.SIGINT
		keys[modes.Cc[unix.VQUIT]] = syscall.SIGQUIT
		delete(keys, 0) // none
	}
	return keys
}

// signalForeground sends the signal of a key to the rest of the terminal's
// foreground. The terminal itself has sent none, as corral has had it in raw mode.
// It is mostly for the shell whose script the command is part of.
func (t *terminal) signalForeground(sig syscall.Signal) {
	if t == nil || t.modes == nil {
		return
	}
	f, err := openTerminal()
	if err != nil {
		return
	}
	defer f.Close()
	if own := unix.Getpgrp(); own > 1 && foregroundGroup(f) == own {
		unix.Kill(-own, sig)
	}
}

// delivered reports whether a signal that the terminal has sent to corral has
// reached the leader as well: it goes to every process of the foreground group. A
// leader that is gone counts as one of corral's group, where it is born but under
// group containment: what it has left there has got the signal, and is being
// stopped anyway.
func delivered(leader int) bool {
	group, err := unix.Getpgid(leader)
	if errors.Is(err, unix.ESRCH) {
		group, err = unix.Getpgrp(), nil
	}
	if err != nil || group != unix.Getpgrp() {
		return false
	}
	tty, err := openTerminal()
	if err != nil {
		return false
	}
	defer tty.Close()
	return foregroundGroup(tty) == group
}

// suspender returns what answers Ctrl-Z: corral stops when its command does. A
// shell takes the terminal back when corral has stopped, so the command (an editor)
// first gets the time to put it in order; it may not stop at all.
//
// Whoever continues the job (fg) continues the command along with corral.
func suspender(cmd *corral.Cmd) func() {
	asked := make(chan struct{}, 1)
	go func() {
		for range asked {
			suspend(cmd, asked)
		}
	}()
	return func() {
		select {
		case asked <- struct{}{}:
		default: // it is going to be done
		}
	}
}

func suspend(cmd *corral.Cmd, asked <-chan struct{}) {
	id, err := proctree.Identify(cmd.Process.Pid)
	if err != nil {
		return // it has ended this moment
	}
	sent := !delivered(id.PID)
	if sent {
		cmd.Signal(syscall.SIGTSTP)
	}
	if !waitStopped(id) {
		return
	}
	select {
	case <-asked: // meant this stop, too; what comes when corral goes on means another one
	default:
	}
	disposition.StopSelf()
	if sent {
		cmd.Signal(syscall.SIGCONT)
	}
}

// stopPatience is the pause after which a process that has not stopped is not going
// to. Only tests change it.
var stopPatience = 4 * time.Second

// waitStopped waits for a process to stop, and reports whether it does. It may not
// be a child, so there is no event to wait for.
func waitStopped(id proctree.ID) bool {
	for pause := time.Millisecond; pause < stopPatience; pause *= 2 {
		row, err := proctree.Lookup(id.PID)
		if err != nil || row.ID != id || !row.Alive() {
			return false
		}
		if row.State == proctree.Stopped {
			return true
		}
		time.Sleep(pause)
	}
	return false
}
