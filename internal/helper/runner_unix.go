//go:build linux || darwin || freebsd

package helper

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/corral-run/corral/internal/proctree"
	"github.com/corral-run/corral/internal/wire/code"
)

// verifyParent returns the process that has started this one. It must be the one
// that the argument names, must have the same user id, and must run the same
// program, unless it has named this one by HelperPath.
func verifyParent(argument string) (int, error) {
	if err := distrusted(); err != nil {
		return 0, err
	}
	number, named := strings.CutSuffix(argument, ","+code.NamedByOwner)
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
