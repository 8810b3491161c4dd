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
