package corral

import (
	"context"
	"slices"
	"time"

	"github.com/corral-run/corral/internal/helper"
	"github.com/corral-run/corral/internal/proctree"
	"github.com/corral-run/corral/internal/stop"
)

// LeftoverPolicy says what is done with members that are alive when the leader
// has ended.
//
// A process that is kept by KeepLeftovers may have a pipe of Corral's as its output. Wait
// does not wait for it, but as long as WaitDelay says, and nothing reaches the Writer, or the
// reader of StdoutPipe, after that: Wait returns ErrWaitDelay, and Report.Holders names the
// process. What it writes later is thrown away, by a goroutine that lasts as long as
// somebody holds the pipe, so that the process does not break. (On Windows it does.) When
// the owner ends, the pipe breaks, as under os/exec. The sure way to have all of the output
// is a file: give Stdout and Stderr an *os.File, and no OutputLimit.
type LeftoverPolicy int

const (
	KillLeftovers   LeftoverPolicy = iota // run the stop plan against them
	KeepLeftovers                         // leave them alone; the Report lists them
	FailOnLeftovers                       // as KillLeftovers, and Wait returns a *LeftoverError

	// WaitForLeftovers waits until they have ended by themselves, and is the
	// policy for a command that goes into the background. The run is not over
	// before that: Timeout, the context and Stop stop it, and are its Ending.
	WaitForLeftovers

	// DetachLeftovers is KeepLeftovers for a command that is to live longer than the
	// owner: the run also goes on when the owner ends, however it does, and whether the
	// leader has ended or not. As long as the owner lives, Timeout, the context, Lifelines
	// and Stop stop it. See also Cmd.Process.
	DetachLeftovers
)

// keeps reports whether leftovers are left alone.
func (p LeftoverPolicy) keeps() bool { return p == KeepLeftovers || p == DetachLeftovers }

// applyPolicy applies the leftover policy, and waits for a stop that has begun.
func (r *run) applyPolicy() {
	if r.cmd.Leftovers == WaitForLeftovers {
		r.awaitLeftovers()
	}
	r.mu.Lock()
	stopping := r.stop != nil
	r.mu.Unlock()
	if !stopping {
		left, err := r.left()
		switch {
		case err != nil && r.cmd.Leftovers.keeps():
			r.log.Warn("corral: cannot list the members", "error", err)
			r.unknown = err
		case err != nil:
			// What cannot be seen can still be signalled.
			r.log.Warn("corral: cannot list the members", "error", err)
			r.beginStop(Exited, nil, r.plan)
		case len(left) == 0:
		case r.cmd.Leftovers.keeps():
			for _, p := range describe(left) {
				r.kept = append(r.kept, Leftover{Process: p, Fate: Kept})
			}
		default:
			r.log.Debug("corral: the command has left processes behind", "count", len(left))
			r.beginStop(Exited, nil, r.plan)
		}
	}
	r.mu.Lock()
	r.closing = true
	s := r.stop
	r.mu.Unlock()
	if s != nil {
		<-s.Done
	}
	if !r.inline {
		r.cmd.stdio.over(r.remainingDelay())
	}
}

// awaitLeftovers waits until nothing is left or a stop has begun.
func (r *run) awaitLeftovers() {
	ctx, cancel := context.WithCancel(r.giveUpCtx)
	defer cancel()
	go func() {
		select {
		case <-r.stopping:
			cancel()
		case <-ctx.Done():
		}
	}()
	if err := r.cont.Empty(ctx); err != nil && ctx.Err() == nil {
		r.log.Warn("corral: cannot wait for what the command has left", "error", err)
	}
}

// left returns the leftovers. The helpers of another run, whose owner was the
// leader of this one, are not, as they know themselves when to end; for one that
// only has their name, a second is not much.
func (r *run) left() ([]proctree.Process, error) {
	left, err := r.cont.Members()
	if err != nil || len(left) == 0 {
		return left, err
	}
	left = stop.Detailed(left)
	if slices.ContainsFunc(left, func(p proctree.Process) bool { return !helper.Is(p) }) {
		return left, nil
	}
	ctx, cancel := context.WithTimeout(r.giveUpCtx, time.Second)
	defer cancel()
	if r.cont.Empty(ctx) == nil {
		return nil, nil
	}
	return r.cont.Members()
}
