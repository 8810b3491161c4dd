//go:build linux || darwin || freebsd

package main

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// checkDescriptors returns an error if a run may lack descriptors. It could begin,
// and not be stopped; or Go's runtime, which needs two before it can wait for
// anything, could end the process.
func checkDescriptors(lifelines int) error {
	var limit unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &limit) != nil || limit.Cur > 1<<12 {
		return nil // nobody comes here with so many open
	}
	need := 32 + 3*lifelines
	var free []int
	var err error
	for len(free) < need && err == nil {
		var fd int
		if fd, err = unix.FcntlInt(0, unix.F_DUPFD_CLOEXEC, 0); err == nil {
			free = append(free, fd)
		}
	}
	for _, fd := range free {
		unix.Close(fd)
	}
	if err == unix.EMFILE {
		return fmt.Errorf("only %d more descriptors can be opened, and a run may need %d: raise the limit, which is %d (ulimit -n)", len(free), need, limit.Cur)
	}
	return os.NewSyscallError("fcntl F_DUPFD_CLOEXEC", err)
}
