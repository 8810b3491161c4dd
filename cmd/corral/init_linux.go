package main

import (
	"context"
	"errors"
	"os"
	"slices"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/corral-run/corral"
)

// checkInit says what keeps corral from being an init here.
func checkInit() error {
	switch self, err := os.Readlink("/proc/self"); {
	case err != nil:
		return errors.New("/proc is not mounted, and an init needs it: mount -t proc proc /proc")
	case self != strconv.Itoa(os.Getpid()):
		return errors.New("/proc is that of another PID namespace: mount -t proc proc /proc")
	}
	return nil
}

// initSignals lists the signals that an init passes on: those of which the Go
// runtime tells, but for those that are about corral itself. The runtime sends
// itself URG, keeps PROF, and leaves 32 to 34 to the C libraries.
func initSignals() []os.Signal {
	heard := runSignals()
	var signals []os.Signal
	for sig := syscall.Signal(1); sig <= rtMax; sig++ {
		switch sig {
		case unix.SIGKILL, unix.SIGSTOP, // cannot be caught
			unix.SIGCHLD, unix.SIGTTIN, unix.SIGTTOU,
			unix.SIGURG, unix.SIGPROF, 32, 33, rtMin:
			continue
		case unix.SIGHUP, unix.SIGINT, unix.SIGQUIT:
			if !slices.Contains(heard, os.Signal(sig)) {
				continue // ignored since corral was started
			}
		}
		signals = append(signals, sig)
	}
	return signals
}

// relay answers the signals that an init gets.
//
// Only the first SIGTERM stops the run: a container may get several, from its
// hooks and its engine, and none of them means that the grace period is over.
func (i *initFlags) relay(cmd *corral.Cmd, signals chan os.Signal) {
	stopping := false
	suspend := suspender(cmd)
	for s := range signals {
		sig := s.(syscall.Signal)
		to, rewritten := i.rewrite[sig]
		if !rewritten {
			to = sig
		}
		switch {
		case to == 0:
		case to == unix.SIGTERM && !stopping:
			stopping = true
			go cmd.Stop(context.Background())
		case to == unix.SIGTSTP && os.Getpid() != 1: // it is the job of a shell
			suspend()
		case sig == unix.SIGWINCH && cmd.PTY != nil:
			resize(cmd.PTY)
		case !rewritten && ofTerminal(sig) && delivered(cmd.Process.Pid):
		case i.all:
			cmd.Signal(to)
		default:
			cmd.Process.Signal(to)
		}
	}
}

// ofTerminal reports whether sig is one that terminals send.
func ofTerminal(sig syscall.Signal) bool {
	return slices.Contains([]syscall.Signal{unix.SIGINT, unix.SIGQUIT, unix.SIGTSTP, unix.SIGWINCH}, sig)
}

// takeTerminal gives the command the foreground of the terminal if corral leads its
// session, as in `docker run -it`, where no shell above could mind. What is typed
// then reaches the command alone, and a signal that comes to corral was sent to it.
func takeTerminal() *syscall.SysProcAttr {
	if sid, err := unix.Getsid(0); err != nil || sid != os.Getpid() || !delivered(os.Getpid()) {
		return nil
	}
	// Not an os.File: the garbage collector would close it.
	tty, err := unix.Open("/dev/tty", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil
	}
	return &syscall.SysProcAttr{Foreground: true, Ctty: tty}
}
