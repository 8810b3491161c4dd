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
	name := p.Name // all that is left while it ends
	if len(p.Args) > 0 {
		name = p.Args[0]
	}
	return slices.Contains(roles, name)
}

// PathError says that the program at HelperPath is missing. That is the owner's
// mistake, and no reason for a weaker containment.
type PathError struct{ err error }

func (e *PathError) Error() string { return "corral: HelperPath: " + e.err.Error() }

func (e *PathError) Unwrap() error { return e.err }
