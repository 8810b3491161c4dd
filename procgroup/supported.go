//go:build !windows

package procgroup

import (
	"errors"
	"fmt"
	"runtime"

	"github.com/corral-run/corral/internal/proctree"
)

var errSystem = fmt.Errorf("not available on %s: %w", runtime.GOOS, errors.ErrUnsupported)

// supported is nil on a system whose process table can be read: elsewhere, nothing
// that is started could be stopped with any certainty.
func supported() error {
	if !proctree.Known {
		return errSystem
	}
	return nil
}
