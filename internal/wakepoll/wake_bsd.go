//go:build darwin || freebsd

package wakepoll

import (
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// wake is a pipe.
type wake struct{ in, out int }

func newWake() (wake, error) {
	var ends [2]int
	syscall.ForkLock.RLock()
	err := unix.Pipe(ends[:])
	if err == nil {
		unix.CloseOnExec(ends[0])
		unix.CloseOnExec(ends[1])
	}
	syscall.ForkLock.RUnlock()
	return wake{ends[1], ends[0]}, os.NewSyscallError("pipe", err)
}

func (w wake) close() {
	unix.Close(w.in)
	unix.Close(w.out)
}

func pollMore([]unix.PollFd, int) (int, error) { return 0, unix.EINVAL }
