//go:build unix && !linux && !darwin && !freebsd

package corral

import (
	"github.com/corral-run/corral/internal/hold/group"
	"github.com/corral-run/corral/internal/proctree"
)

// A process group is what every Unix has. Without a process table nobody knows its
// members: then nothing can hold a run, and Start returns a ContainmentError.
var ladder []mechanism

func init() {
	if proctree.Known {
		ladder = []mechanism{{Group, group.Open}}
	}
}
