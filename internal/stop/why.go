package stop

import (
	"errors"
	"fmt"
	"os"

	"github.com/corral-run/corral/internal/proctree"
)

// whyAlive says why p has outlived its kill, or returns "" if it has not.
func whyAlive(p Leftover) string {
	row, err := proctree.Brief(p.PID)
	switch {
	case errors.Is(err, proctree.ErrGone), err == nil && (row.ID != p.ID || !row.Alive()):
		return ""
	case err == nil && row.State == proctree.Disk:
		return "in uninterruptible sleep"
	}
	switch err := maySignal(p.ID); {
	case errors.Is(err, proctree.ErrGone):
		return ""
	case errors.Is(err, os.ErrPermission):
		return "not permitted: it belongs to user " + row.User
	case err != nil:
		return err.Error()
	}
	return fmt.Sprintf("still there %v after it was killed", KillPatience)
}

// maySignal returns why the process cannot be signalled, or nil if it can.
func maySignal(id proctree.ID) error {
	h, err := proctree.Open(id)
	if err != nil {
		return err
	}
	defer h.Close()
	return h.Signal(noSignal)
}
