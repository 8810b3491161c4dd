package escape

import (
	"os"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// limit makes the kernel kill the process at the deadline, even if it is stopped
// then. A child does not inherit the timer, an exec deletes it (timer_create(2)),
// and it has no effect on the init of a PID namespace.
func limit(deadline time.Time) error {
	if call, errno := newAlarm(deadline, syscall.SIGKILL).set(); errno != 0 {
		return os.NewSyscallError(call, errno)
	}
	return nil
}

// alarm is a timer which sends a signal to the process that sets it.
type alarm struct {
	// struct sigevent, of 64 bytes, with sigev_notify SIGEV_SIGNAL, which is 0.
	event struct {
		value         uintptr
		signo, notify int32
		_             [48]byte
	}
	timer int32
	when  unix.ItimerSpec
}

func newAlarm(at time.Time, sig syscall.Signal) *alarm {
	a := &alarm{when: unix.ItimerSpec{Value: unix.NsecToTimespec(at.UnixNano())}}
	a.event.signo = int32(sig)
	return a
}

// set starts the timer. It returns the name of the system call that has failed, if
// one has. It may be called in borrow.
//
//go:norace
//go:nosplit
func (a *alarm) set() (call string, errno syscall.Errno) {
	if _, _, errno := syscall.RawSyscall6(unix.SYS_TIMER_CREATE, unix.CLOCK_REALTIME,
		uintptr(unsafe.Pointer(&a.event)), uintptr(unsafe.Pointer(&a.timer)), 0, 0, 0); errno != 0 {
		return "timer_create", errno
	}
	const absolute = 1 // TIMER_ABSTIME
	if _, _, errno := syscall.RawSyscall6(unix.SYS_TIMER_SETTIME, uintptr(a.timer), absolute,
		uintptr(unsafe.Pointer(&a.when)), 0, 0, 0); errno != 0 {
		return "timer_settime", errno
	}
	return "", 0
}
