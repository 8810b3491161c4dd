package limiter

import (
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/corral-run/corral/internal/wire"
)

// told waits for the owner's word. The runtime is not told of the wait: it would have
// another thread take over, and there may be a limit of threads by then.
func told(line int) bool {
	var b [1]byte
	for {
		n, _, errno := syscall.RawSyscall(syscall.SYS_READ, uintptr(line), uintptr(unsafe.Pointer(&b)), 1)
		if errno != syscall.EINTR {
			return errno == 0 && n == 1 && b[0] == wire.LimiterGo
		}
	}
}

// keepDeathSignal returns what gives this process its parent-death signal back, which
// it loses when its ids change (prctl(2)).
func keepDeathSignal() func() error {
	var sig int32
	_, _, errno := unix.RawSyscall(unix.SYS_PRCTL, unix.PR_GET_PDEATHSIG, uintptr(unsafe.Pointer(&sig)), 0)
	parent := os.Getppid()
	return func() error {
		if errno != 0 || sig == 0 {
			return nil
		}
		if err := unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(sig), 0, 0, 0); err != nil {
			return err
		}
		if os.Getppid() != parent { // it has ended meanwhile
			syscall.Exit(1)
		}
		return nil
	}
}
