//go:build amd64 || arm64

// Package filelimit remembers the limit of open files that the program was started
// with. Package syscall raises it when it is initialised, and gives it back to the
// programs that os/exec starts (its rlimit.go). This package has no imports, so it
// is initialised before (the Go specification, "Program initialization").
package filelimit

import "unsafe"

// AtStart is the limit, if Known.
var AtStart struct{ Cur, Max uint64 }

// Known says that AtStart could be read.
var Known bool

// rawSyscall6 is syscall.RawSyscall6, which has three results of one word each.
//
//go:linkname rawSyscall6 syscall.RawSyscall6
//go:noescape
func rawSyscall6(number, a, b, c, d, e, f uintptr) (r, r2, errno uintptr)

func init() {
	const files = 7 // RLIMIT_NOFILE
	_, _, errno := rawSyscall6(prlimit64, 0, files, 0, uintptr(unsafe.Pointer(&AtStart)), 0, 0)
	Known = errno == 0
}
