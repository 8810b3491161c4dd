package reach

import (
	"context"
	"errors"
	"time"

	"github.com/corral-run/corral/internal/proctree"
)

// firstPause is short, since a process that is about to leave its group (a
// daemon between fork and setsid) mostly does so at once.
const firstPause = 10 * time.Millisecond

// Drain waits until look returns no process, and returns nil then; or the error
// of look; or the cause of ctx if that is done first and look still returns any.
//
// It looks again when all that the last look returned have ended, an event that
// the kernel reports. No system reports that a process leaves its group, so it
// also looks again after pauses that double each time: one that left is noticed
// before the wait has lasted twice as long as it should have.
func Drain(ctx context.Context, look func() ([]proctree.Process, error)) error {
	for pause := firstPause; ; {
		live, err := look()
		if err != nil || len(live) == 0 {
			return err
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if !ended(ctx, live, pause) {
			pause *= 2
		}
	}
}

// ended reports whether all of the processes have ended, or as many of them as
// can be watched at a time, within the pause.
func ended(ctx context.Context, processes []proctree.Process, pause time.Duration) bool {
	ctx, cancel := context.WithTimeout(ctx, pause)
	defer cancel()
	watch, err := proctree.NewWatch()
	if err == nil {
		defer watch.Close()
		err = watchAll(watch, processes)
	}
	if err != nil {
		// Nothing can be watched, for want of a descriptor most likely. That must
		// not stop whoever is about to kill: the pauses alone set the pace.
		<-ctx.Done()
		return false
	}
	return watch.Wait(ctx) == nil
}

// watchAll adds to watch what it can take of the processes that have not ended.
func watchAll(watch *proctree.Watch, processes []proctree.Process) error {
	for _, p := range processes {
		added, err := watch.Add(p.ID)
		if err != nil && !errors.Is(err, proctree.ErrGone) {
			return err
		}
		if err == nil && !added {
			break
		}
	}
	return nil
}
