//go:build !go1.26

package osproc

import (
	"syscall"

	"golang.org/x/sys/windows"
)

// unsupported is what Signal returns here for every signal but os.Kill, if p has
// been neither waited for nor released.
const unsupported = syscall.Errno(syscall.EWINDOWS)

func openPID(pid int) (uintptr, error) {
	h, err := windows.OpenProcess(windows.MAXIMUM_ALLOWED, false, uint32(pid))
	return uintptr(h), err
}

func closeHandle(handle uintptr) { windows.CloseHandle(windows.Handle(handle)) }
