//go:build !go1.26

package handle

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

func close(handle uintptr) { unix.Close(int(handle)) }

// Hold opens the handle of a process that has just been started, so that With does
// not need a descriptor when there may be none. Since Go 1.26 the process has it itself.
func Hold(p *os.Process) {
	if handle, err := open(p); err == nil {
		held.Store(p, os.NewFile(handle, "pidfd"))
	}
}

// Drop closes the handle of Hold. It is called when the process has been waited for.
func Drop(p *os.Process) {
	if file, ok := held.LoadAndDelete(p); ok {
		file.(*os.File).Close() // after the last With
	}
}
