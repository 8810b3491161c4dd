//go:build !linux && !darwin && !freebsd

package corral

import (
	"errors"
	"fmt"
	"os/exec"
	"runtime"
)

func contain(*exec.Cmd, ContainOptions) error {
	return fmt.Errorf("corral: Contain on %s: %w", runtime.GOOS, errors.ErrUnsupported)
}
