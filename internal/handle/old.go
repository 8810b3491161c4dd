//go:build !go1.26 && (linux || windows)

package handle

import (
	"errors"
	"os"
	"sync"
	"syscall"
)

// ErrNone is the error of With if there is no handle to be had.
var ErrNone = errors.New("handle: process handle unavailable")

// held has the handles of Hold, as *os.File by *os.Process.
var held sync.Map

// With calls f with a handle of p, a pidfd on Linux, which is p's until f returns. If p
// has been waited for, it is an os.ErrProcessDone.
func With(p *os.Process, f func(handle uintptr)) error {
	if file, ok := held.Load(p); ok {
		conn, err := file.(*os.File).SyscallConn()
		if err != nil || conn.Control(f) != nil {
			return os.ErrProcessDone // Drop has been called
		}
		return nil
	}
	handle, err := open(p)
	if err != nil {
		return err
	}
	defer close(handle)
	f(handle)
	return nil
}

// open opens a handle by the PID. Nothing else had that at the time if p holds it
// afterwards: then p has been neither waited for nor released, as Signal says.
func open(p *os.Process) (uintptr, error) {
	handle, err := openPID(p.Pid)
	if serr := p.Signal(syscall.Signal(0)); serr != nil && serr != error(unsupported) {
		if err == nil {
			close(handle)
		}
		return 0, serr
	}
	if err != nil {
		return 0, ErrNone
	}
	return handle, nil
}
