package pgroup

import (
	"errors"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/corral-run/corral/internal/proctree"
)

// pin refers to one process and to no later one with its PID, for as long as it
// has not been reaped and beyond.
type pin struct {
	id proctree.ID
	fd int // pidfd, or -1 if the kernel has none: then the start time tells
}

// newPin returns the process that has the PID now, which may be a zombie;
// ErrGone if there is none.
func newPin(pid int) (*pin, error) {
	fd, err := unix.PidfdOpen(pid, 0)
	switch {
	case errors.Is(err, unix.EMFILE), errors.Is(err, unix.ENFILE), errors.Is(err, unix.ENOMEM):
		return nil, err
	case errors.Is(err, unix.ESRCH):
		return nil, proctree.ErrGone
	case err != nil:
		id, err := proctree.Identify(pid)
		if err != nil {
			return nil, err
		}
		return &pin{id: id, fd: -1}, nil
	}
	return &pin{fd: fd}, nil
}

// unreaped reports whether the process has not been reaped.
func (p *pin) unreaped() bool {
	if p.fd < 0 {
		now, err := proctree.Identify(p.id.PID)
		if err != nil && !errors.Is(err, proctree.ErrGone) {
			// There may be no descriptor to look with. For an unreaped child the
			// kernel needs none.
			return unix.Waitid(unix.P_PID, p.id.PID, nil, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil) == nil
		}
		return err == nil && now == p.id
	}
	err := unix.PidfdSendSignal(p.fd, 0, nil, 0)
	return err == nil || errors.Is(err, unix.EPERM)
}

// ProcessGroup is PIDFD_SIGNAL_PROCESS_GROUP, of pidfd_send_signal(2): the
// golang.org/x/sys that the library requires does not have it.
const ProcessGroup = 1 << 2

// signalGroup signals the group that has the process's PID for its number,
// whether or not the process is still there: the pidfd holds the kernel's struct
// pid, which is what a group is known by in the kernel.
func (p *pin) signalGroup(sig syscall.Signal) error {
	return unix.PidfdSendSignal(p.fd, sig, nil, ProcessGroup)
}

func (p *pin) close() error {
	if p.fd < 0 {
		return nil
	}
	return unix.Close(p.fd)
}

// groupSignalSupported reports whether signalGroup works here, found out by using
// it: the flag came with Linux 6.9, and a seccomp filter may forbid the call. The
// calling process need not lead a group: ESRCH shows that the flag is known, too.
var groupSignalSupported = sync.OnceValue(func() bool {
	fd, err := unix.PidfdOpen(unix.Getpid(), 0)
	if err != nil {
		return false
	}
	self := &pin{fd: fd}
	defer self.close()
	// gVisor has the flag, but knows no group by a pidfd whose process has been
	// reaped. To find that out by doing takes two more processes.
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil || strings.Contains(unix.ByteSliceToString(name.Release[:]), "gvisor") {
		return false
	}
	err = self.signalGroup(0)
	return err == nil || errors.Is(err, unix.ESRCH)
})
