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
