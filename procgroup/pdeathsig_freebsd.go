package procgroup

import (
	"os"
	"strconv"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

func setParentDeathSignal(parentPID int) error {
	const (
		byPID   = 0  // P_PID, sys/wait.h
		self    = 0  // procctl(2): "id zero is a shortcut for the calling process ID"
		request = 11 // PROC_PDEATHSIG_CTL, sys/procctl.h
	)
	sig := int32(unix.SIGKILL)
	var errno syscall.Errno
	if strconv.IntSize == 64 {
		_, _, errno = unix.Syscall6(unix.SYS_PROCCTL, byPID, self, request, uintptr(unsafe.Pointer(&sig)), 0, 0)
	} else { // the ID is a 64-bit number
		_, _, errno = unix.Syscall6(unix.SYS_PROCCTL, byPID, self, self, request, uintptr(unsafe.Pointer(&sig)), 0)
	}
	if errno != 0 {
		return os.NewSyscallError("procctl", errno)
	}
	return endWithout(parentPID)
}
