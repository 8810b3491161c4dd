package keeper

import (
	"syscall"

	"github.com/corral-run/corral/internal/child"
	"github.com/corral-run/corral/internal/procctl"
	"github.com/corral-run/corral/internal/wire"
)

// On FreeBSD the keeper is a reaper (procctl(2), PROC_REAP_ACQUIRE): a member
// whose parent ends becomes its child, and the kernel knows what is below it,
// and can signal all of that, those that are being forked included.

type keeper struct {
	keeperState
	events
}

func (k *keeper) becomeReaper(*wire.Spec) error { return procctl.Acquire() }

func (k *keeper) reap(pid int) bool { return child.Reap(pid) }

// bury has nothing to do: who has ended is not looked at.
func (k *keeper) bury() {}

// sweep returns how many members are left, the leader aside if it has ended, and
// kills them if that is what is to be done.
func (k *keeper) sweep() int {
	if k.killing {
		procctl.Kill(syscall.SIGKILL) // who is left will be seen
	}
	left, err := procctl.Sweep(k.leader.PID, child.Reap)
	if err != nil {
		return 1 // as far as we know
	}
	if k.ended != nil && k.leader.PID != 0 {
		left-- // it has not been reaped
	}
	return left
}
