//go:build !go1.26 && (linux || windows)

package handle

import (
	"errors"
	"os"
	"syscall"
)

// ErrNone is the error of With if there is no handle to be had.
var ErrNone = errors.New("handle: process handle unavailable")

// With calls f with a handle of p, a pidfd on Linux, which is p's until f returns. If p
// has been waited for, it is an os.ErrProcessDone.
//
// The handle is opened by the PID. Nothing else had that at the time if p holds it
// afterwards: then p has been neither waited for nor released, as Signal says.
func With(p *os.Process, f func(handle uintptr)) error {
	handle, err := open(p.Pid)
	if err == nil {
		defer close(handle)
	}
	if serr := p.Signal(syscall.Signal(0)); serr != nil && serr != error(unsupported) {
		return serr
	}
	if err != nil {
		return ErrNone
	}
	f(handle)
	return nil
}
