//go:build !go1.26

package handle

import "golang.org/x/sys/unix"

// unsupported is nothing that Signal returns for a process that p holds.
const unsupported = unix.ENOSYS

func open(pid int) (uintptr, error) {
	fd, err := unix.PidfdOpen(pid, 0)
	return uintptr(fd), err
}

func close(handle uintptr) { unix.Close(int(handle)) }
