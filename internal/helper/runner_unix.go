//go:build linux || darwin || freebsd

package helper

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/corral-run/corral/internal/proctree"
)

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
	const parent, own, fewest = 1, 2, 5 // with a spec, a path, and the command's zeroth argument
	if len(os.Args) < fewest || os.Args[0] != name {
		return
	}
	pid, err := 0, distrusted()
	if err == nil {
		pid, err = verifyParent(os.Args[parent])
	}
	if err != nil {
		os.Stderr.WriteString("corral: refused to be a runner: " + err.Error() + "\n")
		syscall.Exit(1)
	}
	setName(name)
	run(pid, os.Args[own:])
	syscall.Exit(0) // see become
}

// RunnerArguments are the first arguments of a runner of this process.
func RunnerArguments(name, helperPath string) []string {
	parent := strconv.Itoa(os.Getpid())
	if helperPath != "" {
		parent += "," + NamedByOwner
	}
	return []string{name, parent}
}

// verifyParent returns the process that has started this one. It must be the one
// that the argument names, must have the same user id, and must run the same
// program, unless it has named this one by HelperPath.
func verifyParent(argument string) (int, error) {
	number, named := strings.CutSuffix(argument, ","+NamedByOwner)
	pid, err := strconv.Atoi(number)
	if err != nil {
		return 0, errors.New("its arguments are not a runner's")
	}
	row, err := proctree.Brief(pid)
	if err != nil && !errors.Is(err, proctree.ErrGone) {
		return 0, err
	}
	switch parent := os.Getppid(); {
	case parent != pid:
		return 0, fmt.Errorf("its parent is process %d, not the owner, %d", parent, pid)
	case row.User != strconv.Itoa(os.Geteuid()):
		return 0, fmt.Errorf("the owner has another id: user %s (set SysProcAttr.Credential before Contain)", row.User)
	case !named && !sameProgram(pid):
		return 0, fmt.Errorf("the owner, process %d, runs another program, and has not named this one by HelperPath", pid)
	}
	return pid, nil
}
