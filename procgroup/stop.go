package procgroup

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"strings"
	"time"

	"github.com/corral-run/corral/internal/proctree"
	"github.com/corral-run/corral/internal/reach"
)

// target is what is to be signalled or stopped.
type target interface {
	// members returns the live members.
	members() ([]proctree.Process, error)
	// signal sends sig to each member once. The error wraps proctree.ErrGone if
	// none is alive, os.ErrPermission if none may be signalled, and
	// errors.ErrUnsupported if there is no way to send it.
	signal(sig Signal) error
	// resume continues members that are stopped, as far as it can.
	resume()
	close()
}

// maxLooks bounds the looks at a tree that grows faster than it can be looked at.
// The kill is repeated until nothing is left.
const maxLooks = 100

func (s Signal) check() error {
	if s < Kill || s > Term {
		return fmt.Errorf("unknown signal %v", s)
	}
	return nil
}

// signalTarget sends sig to what open makes of the argument.
func signalTarget[T any](sig Signal, open func(T) (target, error), arg T) error {
	if err := sig.check(); err != nil {
		return wrap(err)
	}
	t, err := open(arg)
	if err == nil {
		defer t.close()
		err = t.signal(sig)
		if (err == nil || errors.Is(err, os.ErrPermission)) && sig.asksPermission() {
			// The kernel reports only that no member could be signalled.
			if left := unreached(t.members()); left != nil {
				err = left
			}
		}
	}
	if errors.Is(err, proctree.ErrGone) {
		return nil
	}
	return wrap(err)
}

// stopTarget stops what open makes of the argument.
func stopTarget[T any](ctx context.Context, first Signal, grace time.Duration, open func(T) (target, error), arg T) (Result, error) {
	if err := first.check(); err != nil {
		return Error, wrap(err)
	}
	if first == Kill {
		first = Term
	}
	t, err := open(arg)
	if errors.Is(err, proctree.ErrGone) {
		return AlreadyExited, nil
	}
	if err != nil {
		return Error, wrap(err)
	}
	defer t.close()
	result, err := stop(ctx, t, first, grace)
	return result, wrap(err)
}

func stop(ctx context.Context, t target, first Signal, grace time.Duration) (Result, error) {
	switch err := t.signal(first); {
	case err == nil:
		t.resume()
	case errors.Is(err, proctree.ErrGone):
		return AlreadyExited, nil
	case errors.Is(err, errors.ErrUnsupported):
		grace = 0 // nobody was asked
	case !errors.Is(err, os.ErrPermission): // of which the look below tells more
		return Error, err
	}

	ctx, cancel := context.WithTimeout(ctx, grace)
	defer cancel()
	err := reach.Drain(ctx, func() ([]proctree.Process, error) { return reachable(t.members()) })
	if err == nil {
		return GracefulExit, nil
	}
	if left := survivors(nil); errors.As(err, &left) {
		return Error, err
	}
	// Whatever it was, and even if the process table cannot be read: they have had
	// their time.
	return kill(context.WithoutCancel(ctx), t, KillTimeout)
}

// kill kills t until nothing is left of it, or timeout has passed.
func kill(ctx context.Context, t target, timeout time.Duration) (Result, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	result := GracefulExit // if the last member has ended in this very moment
	err := reach.Drain(ctx, func() ([]proctree.Process, error) {
		// Each time, as others may have come in.
		switch err := t.signal(Kill); {
		case err == nil:
			result = ForcefulKill
		case errors.Is(err, proctree.ErrGone):
			return nil, nil
		case !errors.Is(err, os.ErrPermission):
			return nil, err
		}
		return reachable(t.members())
	})
	if errors.Is(err, context.DeadlineExceeded) {
		var live []proctree.Process
		if live, err = t.members(); err == nil {
			err = survived(live, timeout)
		}
	}
	if err != nil {
		return Error, err
	}
	return result, nil
}

// sendEach calls send for each of live and then for those that look returns, until
// it returns no one new: they have been started meanwhile. No one is sent to twice.
// The error is os.ErrPermission if some could not be sent to for want of
// permission, and none could be sent to.
func sendEach(live []proctree.Process, look func() ([]proctree.Process, error), send func(proctree.Process) error) error {
	first, refused := true, false
	reached, err := reach.Each(func() ([]proctree.Process, error) {
		if first {
			first = false
			return live, nil
		}
		return look()
	}, maxLooks, math.MaxInt64, func(p proctree.Process) error {
		err := send(p)
		if errors.Is(err, os.ErrPermission) {
			refused, err = true, proctree.ErrGone
		}
		return err
	})
	if err == nil && refused && !reached {
		return os.ErrPermission
	}
	return err
}

// reachable returns those of live that the caller may signal. If there are only
// others, the error is the survivors.
func reachable(live []proctree.Process, err error) ([]proctree.Process, error) {
	may, left := divide(live)
	if err == nil && len(may) == 0 && left != nil {
		err = left
	}
	return may, err
}

// unreached returns an error that names those of live that the caller may not
// signal.
func unreached(live []proctree.Process, err error) error {
	_, left := divide(live)
	if err == nil && left != nil {
		err = left
	}
	return err
}

// divide tells those that the caller may signal from the others.
func divide(live []proctree.Process) (may []proctree.Process, left survivors) {
	for _, p := range live {
		if err := denied(p); err != nil {
			left = append(left, survivor{proctree.Detail(p), err})
		} else {
			may = append(may, p)
		}
	}
	return may, left
}

// survived returns an error that says why each of live, if any, is still there
// when timeout has passed.
func survived(live []proctree.Process, timeout time.Duration) error {
	var left survivors
	for _, p := range live {
		err := denied(p)
		switch {
		case err != nil:
		case p.State == proctree.Disk:
			err = errors.New("in uninterruptible sleep")
		default:
			err = fmt.Errorf("alive %v after it was killed", timeout)
		}
		left = append(left, survivor{proctree.Detail(p), err})
	}
	if left == nil {
		return nil
	}
	return left
}

// survivors is the error for processes that could not be stopped.
type survivors []survivor

type survivor struct {
	process proctree.Process
	err     error
}

func (left survivors) Error() string {
	const most = 5
	var b strings.Builder
	for i, s := range left[:min(most, len(left))] {
		if i > 0 {
			b.WriteString("; ")
		}
		command := strings.Join(s.process.Command(), " ")
		fmt.Fprintf(&b, "process %d (%s): %v", s.process.PID, command, s.err)
	}
	if len(left) > most {
		fmt.Fprintf(&b, "; and %d more", len(left)-most)
	}
	return b.String()
}

func (left survivors) Unwrap() []error {
	var errs []error
	for _, s := range left {
		errs = append(errs, s.err)
	}
	return errs
}
