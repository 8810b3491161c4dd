package corral

import (
	"context"
	"slices"
	"time"

	"github.com/corral-run/corral/internal/helper"
	"github.com/corral-run/corral/internal/proctree"
	"github.com/corral-run/corral/internal/stop"
)

// LeftoverPolicy says what is done with members that are alive when the leader has
// ended.
//
// A process kept by KeepLeftovers may write to a pipe of Corral's. Wait waits for
// it only as long as WaitDelay says; after that nothing reaches the Writer, or the
// reader of StdoutPipe. Wait returns ErrWaitDelay, and Report.Holders names the
// process. What it writes later is thrown away, so that the process does not break:
// a goroutine reads it for as long as somebody holds the pipe. (On Windows the pipe
// breaks.) When the owner ends, the pipe breaks, as under os/exec. The sure way to
// have all of the output is a file: give Stdout and Stderr an *os.File, and set no
// OutputLimit.
type LeftoverPolicy int

const (
	KillLeftovers   LeftoverPolicy = iota // run the stop plan against them
	KeepLeftovers                         // leave them alone; the Report lists them
	FailOnLeftovers                       // as KillLeftovers, and Wait returns a *LeftoverError

	// WaitForLeftovers waits until they have ended by themselves. It is the policy
	// for a command that goes into the background. The run lasts until then:
	// Timeout, the context and Stop can stop it, and are its Ending.
	WaitForLeftovers

	// DetachLeftovers is KeepLeftovers for a command that is to live longer than
	// the owner. The run goes on when the owner ends, however it ends, and whether
	// the leader has ended or not. While the owner lives, Timeout, the context,
	// Lifelines and Stop still stop the run. See also Cmd.Process.
	DetachLeftovers

	// HoldLeftovers leaves them alone, and hands them to Cmd.Scope, which holds them
	// until it is closed or the owner dies. See Scope. It takes cgroup, keeper, job or
	// pidns containment; where there is none of these, Start returns a
	// *ContainmentError.
	HoldLeftovers
)

// stops reports whether leftovers are stopped as soon as the command has ended.
func (p LeftoverPolicy) stops() bool { return p == KillLeftovers || p == FailOnLeftovers }

// keeps reports whether leftovers are left alone.
func (p LeftoverPolicy) keeps() bool { return p == KeepLeftovers || p == DetachLeftovers }

// applyPolicy applies the leftover policy, and waits for a stop that has begun.
// From then on no other can begin.
func (r *run) applyPolicy() {
	r.sortLeftovers()
	if r.cmd.Leftovers == WaitForLeftovers {
		r.awaitLeftovers()
	}
	r.mu.Lock()
	stopping := r.stop != nil
	r.mu.Unlock()
	hold := false
	if !stopping {
		left, err := r.left()
		if len(left) > 0 && r.cmd.Leftovers.stops() {
			left, err = r.observed(left)
		}
		r.endPatience()
		switch {
		case r.cmd.Leftovers == HoldLeftovers:
			hold = err != nil || len(left) > 0
			r.recordHeld(left, err)
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
			r.events.settle(r.kept)
		default:
			r.log.Debug("corral: the command has left processes behind", "count", len(left))
			r.beginStop(Exited, nil, r.plan)
		}
	}
	r.mu.Lock()
	r.noMoreStops = true
	s := r.stop
	if hold && s == nil {
		r.hold()
		r.mu.Unlock()
		return
	}
	r.mu.Unlock()
	if s != nil {
		<-s.Done
	}
	if !r.inline {
		r.cmd.stdio.cutHeld(r.remainingDelay())
	}
}

// observed shows what is left to who observes the run, if anybody does, and to whom
// only what does not end by itself soon matters.
func (r *run) observed(left []proctree.Process) ([]proctree.Process, error) {
	patience := r.observer.Patience()
	if patience <= 0 {
		return left, nil
	}
	ctx, cancel := context.WithTimeout(r.giveUpCtx, patience)
	defer cancel()
	r.awaitEmpty(ctx)
	left, err := r.left()
	if len(left) > 0 {
		r.observer.Left(stop.WithDetails(left))
	}
	return left, err
}

// endPatience lets stops begin again that came while what is left had its time.
func (r *run) endPatience() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.patience != nil {
		close(r.patience)
		r.patience = nil
	}
}

// lockForStop locks mu once what the leader has left may not end by itself any
// more. A stop that began before, as a test's end does, would make leftovers of it.
func (r *run) lockForStop() {
	r.mu.Lock()
	for r.patience != nil {
		patience := r.patience
		r.mu.Unlock()
		<-patience
		r.mu.Lock()
	}
}

// awaitLeftovers waits until nothing is left or a stop has begun.
func (r *run) awaitLeftovers() { r.awaitEmpty(r.giveUpCtx) }

// awaitEmpty is awaitLeftovers until ctx is done.
func (r *run) awaitEmpty(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		select {
		case <-r.stopping:
			cancel()
		case <-ctx.Done():
		}
	}()
	if err := r.cont.AwaitEmpty(ctx); err != nil && ctx.Err() == nil {
		r.log.Warn("corral: cannot wait for what the command has left", "error", err)
	}
}

// left returns the leftovers. A nested owner's helpers end by themselves, so if
// only they remain, they get a second. A process may just bear a helper's name; a
// second is not much for that one either.
func (r *run) left() ([]proctree.Process, error) {
	left, err := r.look()
	if err != nil || len(left) == 0 {
		return left, err
	}
	left = stop.WithDetails(left)
	if slices.ContainsFunc(left, func(p proctree.Process) bool { return !helper.Is(p) }) {
		return left, nil
	}
	ctx, cancel := context.WithTimeout(r.giveUpCtx, time.Second)
	defer cancel()
	if r.cont.AwaitEmpty(ctx) == nil {
		return nil, nil
	}
	return r.look()
}

// look returns the members. They decide how long that takes: many that fork and end
// all the time, very long. So if it does, a stop begins meanwhile, unless they are to
// be left alone.
func (r *run) look() ([]proctree.Process, error) {
	if r.cmd.Leftovers.keeps() || r.cmd.Leftovers == HoldLeftovers {
		return r.cont.Members()
	}
	seen := make(chan stop.Sight, 1)
	r.setLooking(stop.Look{Seen: seen, Began: time.Now()})
	defer r.setLooking(stop.Look{})
	late := time.AfterFunc(stop.LookPatience, func() {
		r.endPatience() // else the stop would wait for this look
		r.beginStop(Exited, nil, r.plan)
	})
	defer late.Stop()
	members, err := r.cont.Members()
	seen <- stop.Sight{Members: members, Err: err}
	return members, err
}

func (r *run) setLooking(l stop.Look) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.looking = l
}
