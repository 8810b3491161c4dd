package corral

import "errors"

// HelperPath is the program that the keeper and the guard are started from, if
// it is not empty: one that imports this package, of the same version. It is to
// be set before the first run.
//
// By default it is the running program, which is right unless that is not a Go
// program, such as one that has loaded this package as a shared library.
var HelperPath string

// Keeper and guard are known by these names, in the zeroth argument.
const (
	keeperRole = "corral-keeper"
	guardRole  = "corral-guard"
)

func isHelper(p Process) bool {
	return len(p.Command) > 0 && (p.Command[0] == keeperRole || p.Command[0] == guardRole)
}

// ErrKeeperLost is returned by Wait, with others, when somebody has killed the
// run's keeper. The leader and all members that were known have been killed;
// what had lost its parent before may be left, and is not the owner's to see any
// more.
var ErrKeeperLost = errors.New("corral: the keeper was killed; processes that it had adopted may be left")
