//go:build darwin || freebsd

package corral

import (
	"context"
	"errors"
	"os"

	"github.com/corral-run/corral/internal/proctree"
)

// awaitExit returns when p, a child of this process, has ended, and leaves it
// to be reaped.
func awaitExit(ctx context.Context, p *os.Process) error {
	id, err := proctree.Identify(pidOf(p))
	if err == nil {
		var h *proctree.Handle
		if h, err = proctree.Open(id); err == nil {
			defer h.Close()
			err = h.Wait(ctx)
		}
	}
	if errors.Is(err, proctree.ErrGone) {
		err = nil
	}
	return err
}
