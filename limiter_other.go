//go:build !linux && !darwin && !freebsd

package corral

import (
	"errors"
	"fmt"
	"os/exec"
	"runtime"
)

// errNoProcessLimits says that there is no helper here that could set them.
var errNoProcessLimits = fmt.Errorf("corral: Limits.OpenFiles, FileSize and Core are not available on %s: %w", runtime.GOOS, errors.ErrUnsupported)

// limiter is the helper that sets limits. There is none here.
type limiter struct{}

func newLimiter(Limits, *exec.Cmd) (*limiter, error) { return nil, errNoProcessLimits }

func (*limiter) launch(func() error) error { return errNoProcessLimits }

func (*limiter) failure(err error) error { return err }

func (*limiter) close() {}
