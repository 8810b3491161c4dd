//go:build linux || darwin || freebsd

package keeper

import "github.com/corral-run/corral/internal/proctree"

// Still does nothing: to stop members one by one would show, and would not hold
// those back that continue each other. Sort looks again instead.
func (k *containment) Still() (goOn func()) { return func() {} }

func (k *containment) Without(rows []proctree.Process) []proctree.Process {
	return k.spared.Members(rows)
}
