package corral

import (
	"iter"
	"unsafe"

	"golang.org/x/sys/unix"
)

// helperMain is what a helper does, nil if role is not the name of one.
func helperMain(role string) func() {
	var main func()
	switch role {
	case keeperRole:
		main = keeperMain
	case guardRole:
		main = guardMain
	default:
		return nil
	}
	return func() {
		name, _ := unix.BytePtrFromString(role)
		unix.Prctl(unix.PR_SET_NAME, uintptr(unsafe.Pointer(name)), 0, 0, 0)
		main()
	}
}

func socketpair() ([2]int, error) {
	return unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
}

const receiveClosedOnExec = unix.MSG_CMSG_CLOEXEC

func mayBeOpen() iter.Seq[int] { return listed("/proc/self/fd") }
