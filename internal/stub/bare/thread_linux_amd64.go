package bare

import (
	"syscall"
	"unsafe"
)

// threadArea is where the thread keeps the address of its goroutine, which code in
// assembly, and what comes after it, load from there.
//
//go:norace
//go:nocheckptr
func threadArea() (addr uintptr) {
	const getFS = 0x1003 // ARCH_GET_FS
	call(syscall.SYS_ARCH_PRCTL, getFS, address(unsafe.Pointer(&addr)), 0, 0, 0)
	return addr
}
