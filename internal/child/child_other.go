//go:build unix && !linux

package child

import (
	"context"
	"errors"
	"os"

	"github.com/corral-run/corral/internal/proctree"
)

// AwaitExit returns when a child of this process with that PID has ended, and
// leaves it to be reaped. Nobody may reap it meanwhile.
func AwaitExit(ctx context.Context, _ *os.Process, pid int) error {
	id, err := proctree.Identify(pid)
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
