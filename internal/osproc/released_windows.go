package osproc

import (
	"os"
	"syscall"
)

// released reports whether Release has been called. Signals other than os.Kill are
// refused in any case, but in other words.
func Released(p *os.Process) bool { return p.Signal(syscall.Signal(0)) == syscall.EINVAL }
