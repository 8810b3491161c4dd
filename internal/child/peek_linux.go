package child

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// anyChild is for wait4(2): also one that another thread has cloned, and in
// whatever way.
const anyChild = unix.WALL

// Peek is a look at child pid, or any if that is 0, that does not reap it. The
// PID is 0 if none has ended.
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

// childOf reads the fields of siginfo_t that waitid(2) fills, which are in a
// union, after three ints and what aligns it.
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
