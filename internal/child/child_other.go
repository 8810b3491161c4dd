//go:build unix && !linux

package child

import (
	"context"
	"errors"
	"os"

	"github.com/corral-run/corral/internal/osproc"
	"github.com/corral-run/corral/internal/proctree"
)

// AwaitExit returns when p, a child of this process, has ended, and leaves it
// to be reaped.
func AwaitExit(ctx context.Context, p *os.Process) error {
	id, err := proctree.Identify(osproc.PIDOf(p))
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
