package corral

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// canAdoptOrphans: a runner has one run, and nothing else.
const canAdoptOrphans = true

// wakeAtParentsDeath has the kernel send SIGCONT when the thread has ended that has
// started this process, unless the caller has asked for another signal. It is the
// main thread's affair, on which init functions run. That thread may end before the
// program does, and nothing tells the two SIGCONTs apart: see Contain.
func wakeAtParentsDeath() {
	var sig int32
	_, _, errno := unix.RawSyscall6(unix.SYS_PRCTL, unix.PR_GET_PDEATHSIG, uintptr(unsafe.Pointer(&sig)), 0, 0, 0, 0)
	if errno == 0 && sig == 0 {
		unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGCONT), 0, 0, 0)
	}
}

// wokenAtParentsDeath is wakeAtParentsDeath for a runner that is stopped before it has
// come to that. The caller may still take another SysProcAttr.
func wokenAtParentsDeath(attr *syscall.SysProcAttr) *syscall.SysProcAttr {
	if attr == nil {
		attr = new(syscall.SysProcAttr)
	}
	if attr.Pdeathsig == 0 {
		attr.Pdeathsig = unix.SIGCONT
	}
	return attr
}

const tiocgsid = unix.TIOCGSID

// canGiveUp reports whether fd is a pseudo-terminal. Of others, TIOCNOTTY of a session
// leader cuts the line (disassociate_ctty in the kernel's tty_jobctrl.c).
func canGiveUp(fd int) bool {
	var st unix.Stat_t
	const first, last = 136, 143 // UNIX98_PTY_SLAVE_MAJOR, and UNIX98_PTY_MAJOR_COUNT of them
	return unix.Fstat(fd, &st) == nil && unix.Major(uint64(st.Rdev)) >= first && unix.Major(uint64(st.Rdev)) <= last
}
