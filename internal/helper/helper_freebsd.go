package helper

import (
	"iter"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// peerOf returns who has the other end of the line; the PID is 0 where the kernel
// does not tell (before FreeBSD 13).
func peerOf(line int) (pid, uid int, err error) {
	const solLocal = 0
	peer, err := unix.GetsockoptXucred(line, solLocal, unix.LOCAL_PEERCRED)
	if err != nil {
		return 0, 0, os.NewSyscallError("getsockopt LOCAL_PEERCRED", err)
	}
	// The last field of struct xucred is a union, of a pointer and cr_pid
	// (sys/ucred.h).
	union := unsafe.Add(unsafe.Pointer(peer), unsafe.Sizeof(*peer)-unsafe.Sizeof(uintptr(0)))
	return int(*(*int32)(union)), int(peer.Uid), nil
}

func socketpair() ([2]int, error) {
	return unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
}

const receiveClosedOnExec = unix.MSG_CMSG_CLOEXEC

// mayBeOpen yields every number that a descriptor can have: /dev/fd lists only the
// first three unless an fdescfs(4) is mounted there. If the limit is huge, it
// leaves out the high numbers.
func mayBeOpen() iter.Seq[int] {
	return func(yield func(int) bool) {
		most := 1 << 16
		var limit unix.Rlimit
		if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err == nil && limit.Cur < int64(most) {
			most = int(limit.Cur)
		}
		for fd := 0; fd < most && yield(fd); fd++ {
		}
	}
}

// tainted reports what issetugid(2) says.
func tainted() bool {
	yes, _, errno := unix.Syscall(unix.SYS_ISSETUGID, 0, 0, 0)
	return errno != 0 || yes != 0
}
