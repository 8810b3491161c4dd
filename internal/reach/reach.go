// Package reach gets at processes that fork and end while somebody looks at them.
package reach

import (
	"errors"
	"os"
	"runtime"
	"time"

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

// Each calls send for each process that look returns. Then it looks again, for
// those that have been forked meanwhile, until a look finds nobody new, or it has
// looked so many times, or for so long. It calls send for no process twice.
//
// reached says that there was one for which send returned nil. The error is that of
// look, or one of send that is neither proctree.ErrGone nor an os.ErrPermission,
// which end it at once; else it is the os.ErrPermission, if there was one and
// reached is false.
func Each(look func() ([]proctree.Process, error), looks int, long time.Duration, send func(proctree.Process) error) (reached bool, err error) {
	began := time.Now()
	met := make(map[proctree.ID]bool)
	var refused error
	for fresh := true; fresh && looks > 0 && time.Since(began) < long; looks-- {
		rows, err := look()
		if err != nil {
			return reached, err
		}
		fresh = false
		for _, row := range rows {
			if met[row.ID] {
				continue
			}
			fresh, met[row.ID] = true, true
			switch err := send(row); {
			case err == nil:
				reached = true
			case errors.Is(err, os.ErrPermission):
				refused = err
			case !errors.Is(err, proctree.ErrGone):
				return reached, err
			}
		}
	}
	if reached {
		return true, nil
	}
	return false, refused
}

// Signal sends the signals to each process that look returns, as Each does. One
// that cannot be signalled does not keep the others from it. The errors are those
// of stop.Members.Signal.
func Signal(look func() ([]proctree.Process, error), sigs ...os.Signal) error {
	// A process that forks and exits all the time always has a new child, and many
	// of them make a look take long.
	const looks, long = 20, 300 * time.Millisecond
	result := os.ErrProcessDone
	reached, err := Each(look, looks, long, func(p proctree.Process) error {
		err := SignalRow(p, sigs...)
		if err == nil || errors.Is(err, proctree.ErrGone) {
			return err
		}
		result = err
		return proctree.ErrGone
	})
	if err != nil || reached {
		return err
	}
	return result
}

// SignalFrom is Signal for members that are born as such. If seen is not empty, a
// look has been taken before, which has returned it, and births is what
// proctree.Births returned before that look. The next looks need only return others
// than those known, and are not taken if nobody has been born.
func SignalFrom(seen []proctree.Process, births int, look func(known []proctree.Process) ([]proctree.Process, error), sigs ...os.Signal) error {
	first, known := len(seen) > 0, seen
	return Signal(func() (rows []proctree.Process, err error) {
		if first {
			first = false
			return seen, nil
		}
		now := proctree.Births()
		if len(known) > 0 && births != 0 && now == births {
			return known, nil
		}
		births = now
		known, err = look(known)
		return known, err
	}, sigs...)
}

// SignalProcess sends the signals to the process, unless its PID is another's by
// now.
func SignalProcess(id proctree.ID, sigs ...os.Signal) error {
	return SignalRow(proctree.Process{ID: id}, sigs...)
}

// SignalRow is SignalProcess for the process whose row p is: see proctree.OpenRow.
func SignalRow(p proctree.Process, sigs ...os.Signal) error {
	if err := CheckID(p.PID); err != nil {
		return err
	}
	h, err := proctree.OpenRow(p)
	if err != nil {
		return err
	}
	defer h.Close()
	return h.Signal(sigs...)
}
