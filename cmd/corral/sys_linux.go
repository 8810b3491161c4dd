package main

import "golang.org/x/sys/unix"

// adoptOrphans is safe: corral starts nothing but one run.
const adoptOrphans = true

// The real-time signals as glibc counts them: signal(7).
const rtMin, rtMax = 34, 64

// canKeep: single processes can be kept.
const canKeep = true

// getTermios reads the modes of a terminal: ioctl_tty(2).
const getTermios = unix.TCGETS
