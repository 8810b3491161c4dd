//go:build linux || freebsd

package hold

import (
	"os"

	"github.com/corral-run/corral/internal/child"
	"github.com/corral-run/corral/internal/osproc"
)

// DeathOfParent is what the death of the owner does to a Child that is to get a
// parent-death signal.
const DeathOfParent = DeathKillsLeader

// Peek returns how the leader has ended, without reaping it, or nil if that is not
// known, as when it has been reaped.
func (c *Child) Peek() *os.ProcessState {
	pid, status, usage, err := child.Peek(c.pid)
	if err != nil || pid == 0 || pid != c.pid {
		return nil
	}
	return osproc.NewState(pid, status, &usage, nil)
}
