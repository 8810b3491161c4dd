package child

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

const anyChild = 0 // for wait4(2)

// rusage is the struct __wrusage of sys/resource.h: what the process has used, and
// what its children have.
type rusage struct{ self, children syscall.Rusage }

// The kernel writes 288 bytes to it.
const (
	_ = uint(unsafe.Sizeof(rusage{})) - 288
	_ = 288 - uint(unsafe.Sizeof(rusage{}))
)

// Peek returns how child pid has ended, or any child if pid is 0, without reaping
// it. It returns PID 0 if none has ended.
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
