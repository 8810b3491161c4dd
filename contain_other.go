//go:build !linux && !darwin && !freebsd && !windows

package corral

import (
	"errors"
	"fmt"
	"os/exec"
	"runtime"
)

// errNoRunner says that there is no runner here.
var errNoRunner = fmt.Errorf("corral: Contain is not available on %s: %w", runtime.GOOS, errors.ErrUnsupported)

func contain(*exec.Cmd, ContainOptions) error { return errNoRunner }
