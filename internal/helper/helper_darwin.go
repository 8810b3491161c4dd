package helper

import (
	"iter"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// socketpair marks the sockets close-on-exec in calls of their own. No other
// goroutine may start a program meanwhile.
func socketpair() ([2]int, error) {
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err == nil {
		unix.CloseOnExec(fds[0])
		unix.CloseOnExec(fds[1])
	}
	return fds, err
}

const receiveClosedOnExec = 0 // there is no such flag

// mayBeOpen yields the descriptors that are open.
func mayBeOpen() iter.Seq[int] { return listed("/dev/fd") }

// peerOf returns who has the other end of the line. The kernel does not keep the
// ids of whoever made a pair of sockets, so the uid is the parent's.
func peerOf(line int) (pid, uid int, err error) {
	const solLocal = 0
	pid, err = unix.GetsockoptInt(line, solLocal, unix.LOCAL_PEERPID)
	if err != nil {
		return 0, 0, os.NewSyscallError("getsockopt LOCAL_PEERPID", err)
	}
	parent, err := unix.SysctlKinfoProc("kern.proc.pid", os.Getppid())
	if err != nil {
		return 0, 0, os.NewSyscallError("sysctl kern.proc.pid", err)
	}
	return pid, int(parent.Eproc.Ucred.Uid), nil
}

// tainted reports what issetugid(2) says.
func tainted() bool {
	//lint:ignore SA1019 there is no wrapper for it
	yes, _, errno := unix.Syscall(unix.SYS_ISSETUGID, 0, 0, 0)
	return errno != 0 || yes != 0
}
