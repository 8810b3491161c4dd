package corral

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/corral-run/corral/internal/errjoin"
	"github.com/corral-run/corral/internal/proctree"
	"github.com/corral-run/corral/internal/stop"
)

// held is what a Scope holds of a run whose leader has ended. The run keeps its
// containment, and what copies its output, until nothing is left.
type held struct {
	run    *run
	ctx    context.Context // done when nothing more is to be waited for
	cancel context.CancelFunc

	stop *stop.Stopper // guarded by run.mu
	over bool          // likewise: nothing is left, or it has been given up

	output  chan struct{} // has an element while nobody uses the streams
	waited  chan struct{} // closed when Wait has returned what it knows
	copied  chan struct{} // closed when all output has been passed on
	settled chan struct{} // closed when all has been given up
	err     error         // set before that: what went wrong with the output, or ErrKeeperLost
}

// recordHeld records what a look has found when the leader had ended. What cannot be
// seen is held all the same.
func (r *run) recordHeld(left []proctree.Process, err error) {
	if r.unknown = err; err != nil {
		r.log.Warn("corral: cannot list the members", "error", err)
	}
	for _, p := range describe(left) {
		r.kept = append(r.kept, Leftover{Process: p, Fate: Held})
	}
	r.events.settle(r.kept)
}

// hold begins to hold what is left. It is called with mu held.
func (r *run) hold() {
	h := &held{
		run: r, output: make(chan struct{}, 1),
		waited: make(chan struct{}), copied: make(chan struct{}), settled: make(chan struct{}),
	}
	h.ctx, h.cancel = context.WithCancel(context.Background())
	h.output <- struct{}{}
	r.held = h
	r.log.Debug("corral: the command has left processes behind, which the Scope holds", "count", len(r.kept))
	go h.tend()
}

// heldBy is what a Scope holds of the run, or nil.
func (r *run) heldBy() *held {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.held
}

// lastStop is the stop of the run, or of what is held of it.
func (r *run) lastStop() *stop.Stopper {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.held != nil {
		return r.held.stop
	}
	return r.stop
}

// leaveScope is called when the run is over: nothing of it is held.
func (r *run) leaveScope() {
	if r.cmd.Scope != nil && r.heldBy() == nil {
		r.cmd.Scope.leave(r)
	}
}

// stopHeld begins the stop of what is held by the plan, or joins the one that has
// begun. It returns nil if nothing is held.
func (r *run) stopHeld(plan StopPlan) *stop.Stopper {
	r.mu.Lock()
	defer r.mu.Unlock()
	h := r.held
	if h == nil || h.over && h.stop == nil {
		return nil
	}
	if h.stop == nil {
		s := stop.New(r.cont, plan.internal(), 0, r.log) // the leader has ended, and its PID may be a member's
		s.CloseInput = r.cmd.stdio.closeInput
		r.events.watch(s, Stopped, nil)
		h.stop = s
		go func() {
			s.Run()
			h.cancel()
		}()
	}
	return h.stop
}

// tend waits until nothing is left, or what is left has been given up, and then gives
// up what the owner has of the run, if nobody is going to call Wait any more.
func (h *held) tend() {
	r := h.run
	if err := r.cont.Tend(h.ctx); err != nil && h.ctx.Err() == nil {
		r.log.Warn("corral: cannot tell when what the Scope holds has ended", "error", err)
		<-h.ctx.Done() // only a stop knows more
	}
	r.mu.Lock()
	h.over = true
	s := h.stop
	r.mu.Unlock()
	if s != nil {
		<-s.Done
	}
	h.cancel()
	select {
	case <-h.waited:
	case <-r.cmd.Scope.closing:
	}
	h.settle()
}

// settle gives up all that the owner has of the run.
func (h *held) settle() {
	defer close(h.settled)
	r := h.run
	<-h.output
	ioErr := r.cmd.stdio.finish(r.remainingDelay(), false)
	close(h.copied)
	h.output <- struct{}{}
	r.ended()
	if r.pinned {
		r.reaping.Lock()
		_, err := r.cont.Reap()
		r.reaping.Unlock()
		if errors.Is(err, ErrKeeperLost) {
			h.err = ErrKeeperLost
		}
	}
	r.close()
	known := r.cont.Facts()
	r.mu.Lock()
	rep := r.makeReport(known)
	r.report.Store(rep)
	r.events.end(r, rep)
	r.mu.Unlock()
	h.err = errjoin.Join(h.err, ioErr)
	r.unlist(r.report.Load(), nil, "")
	r.cmd.Scope.leave(r)
}

// ended finds out how the leader has ended, and keeps the containment.
func (r *run) ended() error {
	if !r.pinned {
		return r.reap()
	}
	r.reapOnce.Do(func() {
		r.reaping.Lock()
		defer r.reaping.Unlock()
		r.state, r.reapErr = r.cont.Ended()
	})
	return r.reapErr
}

// waitHeld is the rest of Wait for a run of which something is held. All output that
// has been written until now is delivered.
func (r *run) waitHeld(h *held) error {
	defer close(h.waited)
	select {
	case <-h.output: // until the report is made, which tells of the streams
		defer func() { h.output <- struct{}{} }()
		r.cmd.stdio.flush(nil)
	case <-h.settled:
	}
	exitErr := r.ended()
	if r.lateWait.Load() {
		exitErr = syscall.EINVAL // as under os/exec
	}
	known := r.cont.Facts()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.cmd.setState(r.state)
	rep := r.makeReport(known)
	if !r.report.CompareAndSwap(nil, rep) { // it has been settled meanwhile
		rep = r.report.Load()
	}
	return r.waitError(exitErr, nil, rep)
}

// flushOthers delivers what the processes have written until now that the Scope holds
// of other runs: the command may have caused them to. It waits for the Writers as long
// as it would for the run's own pipes.
func (r *run) flushOthers() {
	late, cancel := context.WithTimeout(context.Background(), r.remainingDelay())
	defer cancel()
	var all sync.WaitGroup
	for _, other := range r.cmd.Scope.all() {
		if h := other.heldBy(); h != nil && other != r {
			all.Go(func() { h.flush(late.Done()) })
		}
	}
	all.Wait()
}

// flush delivers what has been written until now. A flush that is under way may have
// begun before that.
func (h *held) flush(late <-chan struct{}) {
	select {
	case <-h.output:
		h.run.cmd.stdio.flush(late)
		h.output <- struct{}{}
	case <-h.settled:
	case <-late:
	}
}

// closeHeld stops the run or what is held of it, for Scope.Close, and waits until all
// has been given up. It returns nil if there was nothing to stop.
func (r *run) closeHeld() (*stop.Stopper, error) {
	s := r.beginStop(Stopped, nil, r.plan)
	if s == nil {
		s = r.stopHeld(r.plan)
	}
	var err error
	if s != nil {
		<-s.Done
		err = stopError(s)
	}
	// Copying is cut after the delay, of what still runs by Wait. What a Writer makes of it
	// may take for ever.
	late := time.NewTimer(r.remainingDelay() + writerPatience)
	defer late.Stop()
	h := r.heldBy()
	if h == nil {
		if !r.cmd.stdio.awaitCopied(late.C) {
			err = errjoin.Join(err, ErrWaitDelay)
		}
		return s, err
	}
	select {
	case <-h.copied:
		late.Reset(stop.KillPatience) // for what has to be given up
	case <-late.C:
		return s, errjoin.Join(err, ErrWaitDelay)
	}
	select {
	case <-h.settled:
		return s, errjoin.Join(err, h.err)
	case <-late.C:
		return s, errjoin.Join(err, ErrWaitDelay)
	}
}

// writerPatience is how long Close waits for a Writer that has got the last of the
// output.
const writerPatience = time.Second

// leftovers says what has become of those that were held, with kept for those that
// were there when the leader had ended. It is called with run.mu held.
func (h *held) leftovers(kept []Leftover, unknown error) (all []Leftover, forced bool, _ error) {
	var stopped []Leftover
	if h.stop != nil && h.over {
		stopped, forced, unknown = leftoversOf(h.stop.Leftovers), h.stop.Killed, h.stop.LookErr
	} else if h.over {
		unknown = nil // the system has said that nothing is left
	}
	for _, l := range kept {
		if slices.ContainsFunc(stopped, func(s Leftover) bool { return s.PID == l.PID && s.Start == l.Start }) {
			continue
		}
		if h.over {
			l.Fate = Ended
		}
		all = append(all, l)
	}
	all = append(all, stopped...)
	slices.SortFunc(all, func(a, b Leftover) int { return cmp.Compare(a.PID, b.PID) })
	return all, forced, unknown
}
