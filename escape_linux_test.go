package corral_test

import "github.com/corral-run/corral"

func init() { atEnd = corral.GiveBack }

// containments are those that every child of the escape package is tried
// against.
var containments = []corral.Containment{corral.PIDNS, corral.Cgroup, corral.Keeper, corral.Group}
