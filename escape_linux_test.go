package corral_test

import (
	"github.com/corral-run/corral"
	"github.com/corral-run/corral/internal/hold/cgroups"
)

func init() { atEnd = cgroups.GiveBack }

// containments are those that every child of the escape package is tried
// against.
var containments = []corral.Containment{corral.PIDNS, corral.Cgroup, corral.Keeper, corral.Group}
