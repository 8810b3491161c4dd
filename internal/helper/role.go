package helper

import (
	"os"
	"slices"

	"github.com/corral-run/corral/internal/proctree"
)

var roles []string

// Role makes run what helpers in the named role do. It is called by an init
// function of the package that defines run. A helper is the running program once
// more, with the role's name as its zeroth argument: there, Role calls run and does
// not return.
func Role(name string, run func(Owner)) {
	if slices.Contains(roles, name) {
		panic("helper: there are two roles " + name)
	}
	roles = append(roles, name)
	if len(os.Args) > 0 && os.Args[0] == name && asked() {
		become(name, run)
	}
}

// Is reports whether p is a helper, of whatever owner.
func Is(p proctree.Process) bool {
	// The name is all that is left while it ends. A fork of the owner has no room for
	// more arguments than that had.
	return slices.Contains(roles, p.Name) || len(p.Args) > 0 && slices.Contains(roles, p.Args[0])
}

// PathError says that the program at HelperPath is missing. That is the owner's
// mistake, and no reason for a weaker containment.
type PathError struct{ err error }

func (e *PathError) Error() string { return "corral: HelperPath: " + e.err.Error() }

func (e *PathError) Unwrap() error { return e.err }
