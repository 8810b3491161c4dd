//go:build !go1.26 && (linux || windows)

package osproc

import (
	"errors"
	"os"
	"sync"
	"syscall"
)

// ErrNoHandle is the error of WithHandle if there is no handle.
var ErrNoHandle = errors.New("process handle unavailable")

// heldHandles are the handles of HoldHandle: an *os.File for each *os.Process.
var heldHandles sync.Map

// WithHandle calls f with a handle of p, a pidfd on Linux, which stays p's until f
// returns. If p has been waited for, the error is os.ErrProcessDone; another one on
// Windows, where that also releases p.
func WithHandle(p *os.Process, f func(handle uintptr)) error {
	if file, ok := heldHandles.Load(p); ok {
		conn, err := file.(*os.File).SyscallConn()
		if err != nil || conn.Control(f) != nil {
			return os.ErrProcessDone // DropHandle has been called
		}
		return nil
	}
	handle, err := openHandle(p)
	if err != nil {
		return err
	}
	defer closeHandle(handle)
	f(handle)
	return nil
}

// openHandle opens a handle by the PID. If Signal says afterwards that p has been
// neither waited for nor released, the PID was p's all the time.
func openHandle(p *os.Process) (uintptr, error) {
	handle, err := openPID(p.Pid)
	if serr := p.Signal(syscall.Signal(0)); serr != nil && serr != error(unsupported) {
		if err == nil {
			closeHandle(handle)
		}
		return 0, serr
	}
	if err != nil {
		return 0, ErrNoHandle
	}
	return handle, nil
}
