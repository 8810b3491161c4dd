package sigaction

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

const sigDfl, sigIgn = 0, 1 // SIG_DFL, SIG_IGN

// action is the kernel's struct sigaction, which begins with the handler, and
// is not as large as this.
type action [8]uintptr

const maskSize = 8

func Ignored(sig syscall.Signal) bool {
	var now action
	_, _, errno := unix.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(sig), 0, uintptr(unsafe.Pointer(&now)), maskSize, 0, 0)
	return errno == 0 && now[0] == sigIgn
}

func Ignore(sig syscall.Signal) { set(sig, sigIgn) }

func SetDefault(sig syscall.Signal) { set(sig, sigDfl) }

func set(sig syscall.Signal, handler uintptr) {
	unix.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(sig), uintptr(unsafe.Pointer(&action{handler})), 0, maskSize, 0, 0)
}
