package corral

import (
	"iter"

	"golang.org/x/sys/unix"
)

func socketpair() ([2]int, error) {
	return unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
}

const receiveClosedOnExec = unix.MSG_CMSG_CLOEXEC

// mayBeOpen yields the numbers there can be, as /dev/fd has but the first three
// unless an fdescfs(4) is mounted there. Where the limit is out of proportion,
// descriptors with high numbers are passed over.
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
