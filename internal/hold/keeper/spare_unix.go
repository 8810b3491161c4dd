//go:build linux || darwin || freebsd

package keeper

import (
	"context"
	"time"

	"github.com/corral-run/corral/internal/proctree"
)

// Still does nothing: to stop members one by one would show, and would not hold
// those back that continue each other. Sort looks again instead.
func (k *containment) Still(context.Context) (goOn func()) { return func() {} }

// MayLeave: who is below another keeper, too, is let go of by this one, and remains the
// other's.
func (k *containment) MayLeave(proctree.ID) error { return nil }

// emptiesSoon waits for the keeper to say that nobody is left but those that have
// been let go of. To find that out takes it several looks at all of them.
func (k *containment) emptiesSoon() bool {
	if k.spared.Empty() {
		return false
	}
	k.wake()
	late := time.NewTimer(answerTime)
	defer late.Stop()
	select {
	case <-k.emptied:
		return true
	case <-late.C:
		return false
	}
}

func (k *containment) Without(rows []proctree.Process) []proctree.Process {
	return k.spared.Members(rows)
}
