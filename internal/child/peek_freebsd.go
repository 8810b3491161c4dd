package child

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

const anyChild = 0 // for wait4(2)

// rusage is the struct __wrusage of sys/resource.h: what the process itself has
// used, and its children.
type rusage struct{ self, children syscall.Rusage }

// The kernel writes that many bytes to it.
const (
	_ = uint(unsafe.Sizeof(rusage{})) - 288
	_ = 288 - uint(unsafe.Sizeof(rusage{}))
)

// Peek is a look at child pid, or any if that is 0, that does not reap it. The
// PID is 0 if none has ended.
func Peek(pid int) (got int, status syscall.WaitStatus, usage syscall.Rusage, err error) {
	const byPID, all = 0, 7 // P_PID, P_ALL, sys/wait.h
	kind := uintptr(byPID)
	if pid == 0 {
		kind = all
	}
	var number int32
	var used rusage
	r, _, errno := unix.Syscall6(unix.SYS_WAIT6, kind, uintptr(pid), uintptr(unsafe.Pointer(&number)),
		unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, uintptr(unsafe.Pointer(&used)), 0)
	if errno != 0 {
		return 0, 0, syscall.Rusage{}, errno
	}
	// Once a process has ended, self is the sum of both (exit1 in the kernel's
	// kern_exit.c), as wait4(2) has it.
	return int(r), syscall.WaitStatus(number), used.self, nil
}
