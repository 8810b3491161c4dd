//go:build !go1.26

package osproc

import (
	"os"

	"golang.org/x/sys/unix"
)

// unsupported is an error that Signal never returns for a process that p holds.
const unsupported = unix.ENOSYS

func openPID(pid int) (uintptr, error) {
	fd, err := unix.PidfdOpen(pid, 0)
	return uintptr(fd), err
}

func closeHandle(handle uintptr) { unix.Close(int(handle)) }

// HoldHandle opens the handle of a process that has just started, so that
// WithHandle needs no descriptor later, when there may be none. Since Go 1.26 the
// process itself has one.
func HoldHandle(p *os.Process) {
	if handle, err := openHandle(p); err == nil {
		heldHandles.Store(p, os.NewFile(handle, "pidfd"))
	}
}

// DropHandle closes the handle of HoldHandle, once the process has been waited for.
func DropHandle(p *os.Process) {
	if file, ok := heldHandles.LoadAndDelete(p); ok {
		file.(*os.File).Close() // takes effect after the last WithHandle
	}
}
