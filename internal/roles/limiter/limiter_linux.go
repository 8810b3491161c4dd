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

// keep returns what gives this process back what it loses when its ids change: the
// capabilities of attr, which it has kept for that, and its parent-death signal (prctl(2)).
func keep(attr *syscall.SysProcAttr) (restore func() error) {
	var sig int32
	_, _, errno := unix.RawSyscall(unix.SYS_PRCTL, unix.PR_GET_PDEATHSIG, uintptr(unsafe.Pointer(&sig)), 0)
	parent := os.Getppid()
	if len(attr.AmbientCaps) > 0 {
		unix.Prctl(unix.PR_SET_KEEPCAPS, 1, 0, 0, 0) // of this thread, which executes the command
	}
	return func() error {
		if err := raise(attr.AmbientCaps); err != nil {
			return err
		}
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

// raise makes capabilities ambient, as package syscall does in a child.
func raise(caps []uintptr) error {
	if len(caps) == 0 {
		return nil
	}
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return err
	}
	for _, c := range caps {
		if c/32 >= uintptr(len(data)) {
			return unix.EINVAL
		}
		data[c/32].Permitted |= 1 << (c % 32)
		data[c/32].Inheritable |= 1 << (c % 32)
	}
	if err := unix.Capset(&header, &data[0]); err != nil {
		return err
	}
	for _, c := range caps {
		if err := unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_RAISE, c, 0, 0); err != nil {
			return err
		}
	}
	return nil
}
