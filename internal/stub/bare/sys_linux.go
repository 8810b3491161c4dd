//go:build amd64 || arm64

package bare

import (
	"syscall"
	"unsafe"
)

// What is not in package syscall. Package unix has it, but is initialised later:
// see early.go.
const (
	sysPidfdSendSignal = 424
	sysPidfdOpen       = 434
	sysClone3          = 435
	sysCloseRange      = 436

	atCWD               = -100       // AT_FDCWD
	atRemoveDir         = 0x200      // AT_REMOVEDIR
	atEmptyPath         = 0x1000     // AT_EMPTY_PATH
	oPath               = 0o10000000 // O_PATH
	clockMonotonic      = 1          // CLOCK_MONOTONIC
	pAll                = 0          // P_ALL
	prSetChildSubreaper = 36         // PR_SET_CHILD_SUBREAPER
	sigSetMask          = 2          // SIG_SETMASK
	sigDfl              = 0          // SIG_DFL
	sigIgn              = 1          // SIG_IGN
	schedFlagKeepPolicy = 8          // SCHED_FLAG_KEEP_POLICY
	shortTurn           = 100000     // in nanoseconds, the least that Linux grants
	sigSize             = 8          // of the kernel's sigset_t, in bytes
)

// None of these functions is generic: those would lose their pragmas.

// given is what system calls read. A variable on the stack that is not used any
// more in Go could be overwritten by then.
var given struct {
	mask   uint64
	action [4]uint64 // the kernel's struct sigaction, which begins with the handler
	event  syscall.EpollEvent
	time   syscall.Timespec
	limit  [2]uint64
	errno  syscall.Errno
	byte   byte
	path   [64]byte
	clone  cloneArgs
	sched  schedAttr
}

// schedAttr is the kernel's struct sched_attr, in its first version.
type schedAttr struct {
	size, policy              uint32
	flags                     uint64
	nice                      int32
	priority                  uint32
	runtime, deadline, period uint64
}

// address is what a system call takes for p.
//
//go:norace
//go:nocheckptr
func address(p unsafe.Pointer) uintptr { return uintptr(p) }

//go:norace
//go:nocheckptr
func call(number, a, b, c, d, e uintptr) (uintptr, syscall.Errno) {
	for {
		r, _, errno := syscall.RawSyscall6(number, a, b, c, d, e, 0)
		if errno != syscall.EINTR {
			return r, errno
		}
	}
}

// at returns a pointer to an address in the block, which no pointer of Go's leads
// to.
//
//go:norace
//go:nocheckptr
func at(addr uintptr) unsafe.Pointer { return *(*unsafe.Pointer)(unsafe.Pointer(&addr)) }

// bytesAt returns the n bytes at an address in the block.
//
//go:norace
//go:nocheckptr
func bytesAt(addr uintptr, n int) []byte { return unsafe.Slice((*byte)(at(addr)), n) }

// numbersAt returns the n numbers at an address in the block.
//
//go:norace
//go:nocheckptr
func numbersAt(addr uintptr, n int) []int32 { return unsafe.Slice((*int32)(at(addr)), n) }

//go:norace
//go:nocheckptr
func closeFD(fd int) {
	if fd >= 0 {
		syscall.RawSyscall6(syscall.SYS_CLOSE, uintptr(fd), 0, 0, 0, 0, 0)
	}
}

// closeRange closes the descriptors from first to last.
//
//go:norace
//go:nocheckptr
func closeRange(first, last int) {
	if first <= last {
		syscall.RawSyscall6(sysCloseRange, uintptr(first), uintptr(last), 0, 0, 0, 0)
	}
}

//go:norace
//go:nocheckptr
func exit(status int) {
	for {
		syscall.RawSyscall6(syscall.SYS_EXIT_GROUP, uintptr(status), 0, 0, 0, 0, 0)
	}
}

// setMask sets which signals are blocked, and returns which ones were.
//
//go:norace
//go:nocheckptr
func setMask(blocked uint64) (before uint64) {
	given.mask = blocked
	call(syscall.SYS_RT_SIGPROCMASK, sigSetMask, address(unsafe.Pointer(&given.mask)), address(unsafe.Pointer(&before)), sigSize, 0)
	return before
}

// setDefault makes the kernel do its default for a signal.
//
//go:norace
//go:nocheckptr
func setDefault(sig int) { handle(sig, sigDfl) }

// ignore makes the kernel ignore a signal.
//
//go:norace
//go:nocheckptr
func ignore(sig int) { handle(sig, sigIgn) }

//go:norace
//go:nocheckptr
func handle(sig int, how uint64) {
	given.action = [4]uint64{how}
	call(syscall.SYS_RT_SIGACTION, uintptr(sig), address(unsafe.Pointer(&given.action)), 0, sigSize, 0)
}

// now is the time since boot in milliseconds.
//
//go:norace
//go:nocheckptr
func now() int64 {
	var t syscall.Timespec
	call(syscall.SYS_CLOCK_GETTIME, clockMonotonic, address(unsafe.Pointer(&t)), 0, 0, 0)
	return t.Sec*1000 + t.Nsec/1e6
}
