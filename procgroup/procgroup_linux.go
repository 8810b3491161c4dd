package procgroup

import (
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

func setParentDeathSignal(parentPID int) error {
	_, _, errno := syscall.AllThreadsSyscall(unix.SYS_PRCTL, unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0)
	if errno == unix.ENOTSUP { // with cgo, Go does not know all threads
		_, _, errno = unix.Syscall(unix.SYS_PRCTL, unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0)
	}
	if errno != 0 {
		return os.NewSyscallError("prctl", errno)
	}
	return endWithout(parentPID)
}
