//go:build linux || darwin || freebsd

package reach

import (
	"errors"
	"os"
	"runtime"
	"time"

	"github.com/corral-run/corral/internal/pgroup"
	"github.com/corral-run/corral/internal/proctree"
)

// Look returns the members that look returns. It believes in an empty list only if
// look says that there is none: a member that forks and exits all the time is
// mostly gone before it has been identified.
func Look(look func() (rows []proctree.Process, none bool, err error)) ([]proctree.Process, error) {
	// A member that has ended leaves the kernel's list within microseconds. The
	// keeper may take longer to notice.
	const patience = 100 * time.Millisecond
	began := time.Now()
	for {
		rows, none, err := look()
		switch {
		case err != nil || none || len(rows) > 0:
			return rows, err
		case time.Since(began) > patience:
			return nil, errors.New("there are members, but they end before they can be identified")
		}
		runtime.Gosched()
	}
}

// Signal sends the signals to each process that look returns. Then it looks again,
// for those that have been forked meanwhile, until a look finds nobody new. No
// process gets the signals twice. The errors are those of stop.Members.Signal.
func Signal(look func() ([]proctree.Process, error), sigs ...os.Signal) error {
	// A process that forks and exits all the time always has a new child, and many
	// of them make a look take long.
	const most, long = 20, 300 * time.Millisecond
	began := time.Now()
	reached := make(map[proctree.ID]bool)
	result := os.ErrProcessDone
	for i := 0; i < most && time.Since(began) < long; i++ {
		rows, err := look()
		if err != nil {
			return err
		}
		fresh := false
		for _, row := range rows {
			if reached[row.ID] {
				continue
			}
			fresh, reached[row.ID] = true, true
			switch err := SignalProcess(row.ID, sigs...); {
			case err == nil:
				result = nil
			case !errors.Is(err, proctree.ErrGone) && result != nil:
				result = err
			}
		}
		if !fresh {
			break
		}
	}
	return result
}

// SignalProcess sends the signals to the process, unless its PID is another's by
// now.
func SignalProcess(id proctree.ID, sigs ...os.Signal) error {
	if err := pgroup.CheckID(id.PID); err != nil {
		return err
	}
	h, err := proctree.Open(id)
	if err != nil {
		return err
	}
	defer h.Close()
	return h.Signal(sigs...)
}
