//go:build linux || freebsd

package keeper

import (
	"os"

	"github.com/corral-run/corral/internal/child"
	"github.com/corral-run/corral/internal/proctree"
	"github.com/corral-run/corral/internal/wire"
	"github.com/corral-run/corral/internal/wire/code"
	"golang.org/x/sys/unix"
)

// Where the keeper is a reaper, whatever the leader starts is below it.

func (k *keeper) follow() error { return nil }

func (k *keeper) members() ([]proctree.Process, error) {
	k.bury()
	rows, err := proctree.BelowMainThread(os.Getpid())
	if err == nil {
		k.spared.Prune(rows)
	}
	return k.spared.Members(rows), err
}

// reapedAtATime is how many children observe reaps before the keeper reads the line
// again: members that fork and end all the time would keep it for ever.
const reapedAtATime = 256

// observe reaps children until none has ended, or the leader has, which stays:
// from then on the kernel would name it again and again.
func (k *keeper) observe() {
	for range reapedAtATime {
		pid, status, usage, err := child.Peek(0)
		switch {
		case err == unix.EINTR:
		case err != nil || pid == 0:
			return
		case pid == k.leader.PID:
			k.ended = &wire.Event{Kind: code.Ended, Status: status, Rusage: usage}
			return
		default:
			k.reap(pid)
		}
	}
	k.more = true
}

func (k *keeper) reapLeader() {
	if k.leader.PID != 0 {
		child.Reap(k.leader.PID)
		k.leader.PID = 0 // it may become a member's
	}
}
