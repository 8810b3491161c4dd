//go:build darwin || freebsd

package main

import "golang.org/x/sys/unix"

// adoptOrphans: only Linux can.
const adoptOrphans = false

// canKeep: only on Linux.
const canKeep = false

// No real-time signal has a name here.
const rtMin, rtMax = 0, 0

// getTermios reads the modes of a terminal: termios(4).
const getTermios = unix.TIOCGETA

// inspectLinux: what there is on this system needs nothing.
func inspectLinux() *linux { return nil }

// stopSelf stops corral. The default of SIGTSTP cannot be had once Go's runtime has a
// handler for it: os/signal.Reset leaves the handler, which then does nothing. The
// command has stopped, so there is somebody who continues the job.
func stopSelf() (back func()) {
	unix.Kill(unix.Getpid(), unix.SIGSTOP)
	return func() {}
}
