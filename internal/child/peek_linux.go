package child

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// anyChild has wait4(2) wait for every child, whichever thread has cloned it, and
// however.
const anyChild = unix.WALL

// Peek returns how child pid has ended, or any child if pid is 0, without reaping
// it. It returns PID 0 if none has ended.
func Peek(pid int) (got int, status syscall.WaitStatus, usage syscall.Rusage, err error) {
	kind := unix.P_PID
	if pid == 0 {
		kind = unix.P_ALL
	}
	var info unix.Siginfo
	var used unix.Rusage
	err = unix.Waitid(kind, pid, &info, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT|unix.WALL, &used)
	got, status = childOf(&info)
	return got, status, *(*syscall.Rusage)(unsafe.Pointer(&used)), err
}

// childOf reads the fields of siginfo_t that waitid(2) fills. They are in a union,
// which follows three ints and padding.
func childOf(info *unix.Siginfo) (pid int, status syscall.WaitStatus) {
	const union = (12 + unsafe.Sizeof(uintptr(0)) - 1) &^ (unsafe.Sizeof(uintptr(0)) - 1)
	field := func(n uintptr) int32 {
		return *(*int32)(unsafe.Add(unsafe.Pointer(info), union+4*n))
	}
	const exited, dumped = 1, 3 // CLD_EXITED, CLD_DUMPED
	status = syscall.WaitStatus(field(2))
	switch info.Code {
	case exited:
		status <<= 8
	case dumped:
		status |= 0x80
	}
	return int(field(0)), status
}
