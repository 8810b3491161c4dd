//go:build amd64 || arm64

package disposition

import (
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Catch returns a file from which a byte can be read, of value sig, for each time that
// the process gets sig. It is for signals that os/signal does not know (see
// golang.org/issue/6997), and for the whole life of the process; only one signal can
// be caught. It does nothing and returns nil if somebody else handles sig.
func Catch(sig syscall.Signal) (*os.File, error) {
	// struct sigaction of the kernel: handler, flags, restorer, mask.
	var now [4]uintptr
	_, _, errno := unix.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(sig), 0, uintptr(unsafe.Pointer(&now)), 8, 0, 0)
	if errno != 0 {
		return nil, os.NewSyscallError("rt_sigaction", errno)
	}
	if now[0] != sigDfl {
		return nil, nil
	}
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		return nil, os.NewSyscallError("pipe2", err)
	}
	caughtPipe = int32(fds[1])
	const onStack, restart = 0x08000000, 0x10000000 // SA_ONSTACK: goroutines' stacks are too small; SA_RESTART
	action := [4]uintptr{caughtAddress(), onStack | restart | restorerFlag, restorerAddress()}
	_, _, errno = unix.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(sig), uintptr(unsafe.Pointer(&action)), 0, 8, 0, 0)
	if errno != 0 {
		unix.Close(fds[0])
		unix.Close(fds[1])
		return nil, os.NewSyscallError("rt_sigaction", errno)
	}
	return os.NewFile(uintptr(fds[0]), "signal"), nil
}

// caughtPipe is what the handler writes to.
//
//lint:ignore U1000 the handler is written in assembly
var caughtPipe int32

// caughtAddress is where the handler is, and restorerAddress where it returns to.
func caughtAddress() uintptr
func restorerAddress() uintptr
