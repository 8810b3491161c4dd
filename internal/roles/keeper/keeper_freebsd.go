package keeper

import (
	"syscall"

	"github.com/corral-run/corral/internal/child"
	"github.com/corral-run/corral/internal/kept"
	"github.com/corral-run/corral/internal/procctl"
	"github.com/corral-run/corral/internal/wire"
)

// On FreeBSD the keeper is a reaper (procctl(2), PROC_REAP_ACQUIRE): a member
// whose parent ends becomes its child, and the kernel knows what is below it,
// and can signal all of that, those that are being forked included.

type keeper struct {
	keeperState
	spared kept.Set // those that it has let go of
	events
}

func (k *keeper) becomeReaper(*wire.Spec) error { return procctl.Acquire() }

func (k *keeper) reap(pid int) bool { return child.Reap(pid) }

// bury does nothing: a look passes over zombies here.
func (k *keeper) bury() {}

// sweep reaps, kills if k.killing, and returns 0 if no member is left besides an
// ended leader, else more.
func (k *keeper) sweep() int {
	if k.killing {
		procctl.Kill(syscall.SIGKILL) // the sweep shows who is left
	}
	left, err := procctl.Sweep(k.leader.PID, child.Reap)
	if err != nil {
		return 1 // as far as is known
	}
	if k.ended != nil && k.leader.PID != 0 {
		left-- // it has not been reaped
	}
	return left
}
