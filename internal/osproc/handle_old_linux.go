//go:build !go1.26

package osproc

import (
	"os"

	"golang.org/x/sys/unix"
)

// unsupported is nothing that Signal returns for a process that p holds.
const unsupported = unix.ENOSYS

func openPID(pid int) (uintptr, error) {
	fd, err := unix.PidfdOpen(pid, 0)
	return uintptr(fd), err
}

func closeHandle(handle uintptr) { unix.Close(int(handle)) }

// HoldHandle opens the handle of a process that has just been started, so that
// WithHandle does not need a descriptor when there may be none. Since Go 1.26 the
// process has it itself.
func HoldHandle(p *os.Process) {
	if handle, err := openHandle(p); err == nil {
		held.Store(p, os.NewFile(handle, "pidfd"))
	}
}

// DropHandle closes the handle of HoldHandle. It is called when the process has
// been waited for.
func DropHandle(p *os.Process) {
	if file, ok := held.LoadAndDelete(p); ok {
		file.(*os.File).Close() // after the last With
	}
}
