//go:build unix && !linux

package pgroup

import (
	"errors"
	"syscall"

	"github.com/corral-run/corral/internal/proctree"
)

// pin refers to one process and to no later one with its PID, told apart by
// their start times.
type pin struct{ id proctree.ID }

// newPin returns the process that has the PID now, which may be a zombie;
// ErrGone if there is none.
func newPin(pid int) (*pin, error) {
	id, err := proctree.Identify(pid)
	if err != nil {
		return nil, err
	}
	return &pin{id}, nil
}

// unreaped reports whether the process has not been reaped.
func (p *pin) unreaped() bool { return proctree.Same(p.id) }

// No system here can signal a group by anything but its number.
func groupSignalSupported() bool                { return false }
func (p *pin) signalGroup(syscall.Signal) error { return errors.ErrUnsupported }

func (p *pin) close() error { return nil }
