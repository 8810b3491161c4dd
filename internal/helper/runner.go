//go:build linux || darwin || freebsd || windows

package helper

import (
	"os"
	"slices"
	"strconv"
	"syscall"

	"github.com/corral-run/corral/internal/wire/code"
)

// RuntimeVariables change how Go's runtime behaves.
var RuntimeVariables = []string{"GODEBUG", "GOGC", "GOMEMLIMIT", "GOMAXPROCS", "GOTRACEBACK", "GORACE", "GOCOVERDIR"}

// A runner is started by a program that knows nothing of helpers, with the standard
// streams of the command whose place it takes. So it has no line. It is known by
// its zeroth argument. The next one says who its parent is, and the others are the
// role's.

// RunnerRole is Role for a runner. There, it calls run with the parent's PID and the
// arguments, and does not return. A runner is granted like other roles: see become.
// Its arguments are looked at when it has been.
func RunnerRole(name string, run func(parent int, args []string)) {
	if slices.Contains(roles, name) {
		panic("helper: there are two roles " + name)
	}
	roles = append(roles, name)
	const refused = 125                 // as what else a runner cannot do
	const parent, own, fewest = 1, 2, 5 // with a spec, a path, and the command's zeroth argument
	if len(os.Args) < fewest || os.Args[0] != name {
		return
	}
	pid, err := verifyParent(os.Args[parent])
	if err != nil {
		os.Stderr.WriteString("corral: refused to be a runner: " + err.Error() + "\n")
		syscall.Exit(refused)
	}
	setName(name)
	run(pid, os.Args[own:])
	syscall.Exit(0) // see become
}

// RunnerArguments are the first arguments of a runner of this process.
func RunnerArguments(name, helperPath string) []string {
	parent := strconv.Itoa(os.Getpid())
	if helperPath != "" {
		parent += "," + code.NamedByOwner
	}
	return []string{name, parent}
}
