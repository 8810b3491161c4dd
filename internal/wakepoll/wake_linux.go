package wakepoll

import (
	"os"

	"golang.org/x/sys/unix"
)

// wake is a descriptor that becomes readable when something is written to it.
type wake struct{ in, out int }

func newWake() (wake, error) {
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	return wake{fd, fd}, os.NewSyscallError("eventfd", err)
}

func (w wake) close() { unix.Close(w.in) }

// pollMore is poll(2) for more descriptors than the process may have now, which
// poll(2) refuses: another process may have lowered the limit by prlimit(2). It is
// select(2), which goes by what is open. Descriptors from 1024 on are too large for
// that, and are never ready.
func pollMore(fds []unix.PollFd, timeout int) (n int, err error) {
	const most = 1024
	var in, pri unix.FdSet
	highest := -1
	for i, fd := range fds {
		fds[i].Revents = 0
		if fd.Fd < 0 || fd.Fd >= most {
			continue
		}
		highest = max(highest, int(fd.Fd))
		if fd.Events&unix.POLLPRI != 0 {
			pri.Set(int(fd.Fd))
		} else {
			in.Set(int(fd.Fd)) // a hang-up too
		}
	}
	var wait *unix.Timeval
	if timeout >= 0 {
		tv := unix.NsecToTimeval(int64(timeout) * 1e6)
		wait = &tv
	}
	if n, err = unix.Select(highest+1, &in, nil, &pri, wait); n <= 0 || err != nil {
		return 0, err
	}
	n = 0
	for i, fd := range fds {
		if fd.Fd < 0 || fd.Fd >= most || !in.IsSet(int(fd.Fd)) && !pri.IsSet(int(fd.Fd)) {
			continue
		}
		if n++; fd.Events == 0 {
			fds[i].Revents = unix.POLLHUP
		} else {
			fds[i].Revents = fd.Events
		}
	}
	return n, nil
}
