package corral

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"syscall"
	"time"

	"github.com/corral-run/corral/internal/errjoin"
	"github.com/corral-run/corral/internal/stop"
)

// StopPlan is how a run is stopped. Each step sends its signal to every member, or
// closes the command's standard input, and lasts until nothing is left or its wait
// has passed. After the last step comes the containment's kill, which is not part of
// the plan.
type StopPlan []StopStep

// StopStep is one step of a StopPlan. It has a Signal or closes standard input, not
// both.
type StopStep struct {
	// Signal is sent to every member once. Right after it goes what makes stopped
	// members run again (SIGCONT), so that they can obey. A member with handlers
	// for both may enter the second one first. One that the system does not have is an
	// error before the start.
	//
	// Windows has no signals. There, syscall.SIGTERM stands for CTRL_BREAK.
	// os.Interrupt stands for Ctrl-C if the run has a console of its own (by
	// CREATE_NO_WINDOW or CREATE_NEW_CONSOLE in SysProcAttr), else for CTRL_BREAK
	// too. syscall.SIGHUP closes the members' windows. If that reaches no member,
	// as when none has a console, the step is over at once, and Report.SignalError
	// says why.
	Signal os.Signal
	// Wait is the longest time the step may take.
	Wait time.Duration
	// CloseStdin closes the command's standard input, after which many servers and
	// filters end by themselves: the pipe of StdinPipe, on which the caller then
	// gets an os.ErrClosed; the one to which a Stdin is copied, which is not read
	// any more; on a PTY, the end-of-file character is typed, as by its CloseWrite.
	// Members that are stopped are made to run again, as by a Signal.
	//
	// A run whose StopPlan has such a step reads a pipe also where Stdin is an
	// *os.File: Corral copies it, and stops reading when the run is over. What
	// has been read by then is lost to others that read the same file. On Windows,
	// a console is an errors.ErrUnsupported, because nobody could stop reading it.
	//
	// Where there is nothing to close, the step is over at once, and
	// Report.SignalError says why: Stdin is nil, which is at its end from the
	// start; or the plan is that of StopWith alone, and Stdin an *os.File, which the
	// command has itself.
	//
	// If the owner dies, the input ends with it, and the step is only its wait.
	CloseStdin bool
}

// DefaultStopPlan returns the plan of a Cmd that has none: SIGTERM, and five
// seconds to obey.
func DefaultStopPlan() StopPlan {
	return StopPlan{{Signal: syscall.SIGTERM, Wait: 5 * time.Second}}
}

// MCPStopPlan returns the plan by which a host of the Model Context Protocol stops a
// server that speaks over standard input and output: its input is closed; two seconds
// later it gets SIGTERM, with two more to obey; and then comes the kill. The protocol
// has this order, and leaves the times to the host.
func MCPStopPlan() StopPlan {
	const patience = 2 * time.Second
	return StopPlan{{CloseStdin: true, Wait: patience}, {Signal: syscall.SIGTERM, Wait: patience}}
}

// internal is p in the terms of package stop.
func (p StopPlan) internal() stop.Plan {
	var steps stop.Plan
	for _, s := range p {
		if s.CloseStdin {
			s.Signal = stop.CloseStdin
		}
		steps = append(steps, stop.Step{Signal: s.Signal, Wait: s.Wait})
	}
	return steps
}

func (p StopPlan) closesStdin() bool {
	return slices.ContainsFunc(p, func(s StopStep) bool { return s.CloseStdin })
}

func (p StopPlan) check() error {
	for i, step := range p {
		switch {
		case step.Signal == nil && !step.CloseStdin:
			return fmt.Errorf("corral: step %d of the stop plan has no signal", i+1)
		case step.Signal != nil && step.CloseStdin:
			return fmt.Errorf("corral: step %d of the stop plan closes standard input and has a signal: make it two", i+1)
		case step.Signal != nil && !stop.Exists(step.Signal):
			return fmt.Errorf("corral: step %d of the stop plan has %v, which is no signal of this system", i+1, step.Signal)
		}
		if step.Wait < 0 {
			return fmt.Errorf("corral: step %d of the stop plan has a negative wait, %v", i+1, step.Wait)
		}
	}
	return nil
}

// watch arranges for the run to be stopped when its time or context ends, or a
// lifeline is lost.
func (r *run) watch(ctx context.Context) {
	c := r.cmd
	r.watchLifelines()
	if r.idle != nil { // or the function would be made for nothing
		r.idle.start(func() { r.beginStop(Idle, &IdleError{c.IdleTimeout}, r.plan) })
	}
	if c.Timeout > 0 {
		r.timeout = time.AfterFunc(c.Timeout-time.Since(r.started), func() {
			err := fmt.Errorf("corral: timed out after %v: %w", c.Timeout, context.DeadlineExceeded)
			r.beginStop(TimedOut, err, r.plan)
		})
	}
	if ctx != nil && ctx.Done() != nil && (c.Cancel != nil || c.WaitDelay > 0) {
		r.ctxHandled = make(chan struct{})
		r.ctxStop = context.AfterFunc(ctx, func() {
			defer close(r.ctxHandled)
			r.contextDone(ctx)
		})
	}
}

// contextDone calls the caller's Cancel, or, through the one that CommandContext
// set, the stop plan.
func (r *run) contextDone(ctx context.Context) {
	if r.letGo() {
		return
	}
	r.countWaitDelay()
	if r.cmd.Cancel == nil {
		return
	}
	err := r.cmd.Cancel()
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case errors.Is(err, os.ErrProcessDone):
		// It ended before we could interrupt it.
	case err != nil:
		r.ctxErr = fmt.Errorf("exec: canceling Cmd: %w", err)
		r.log.Warn("corral: Cancel has failed", "error", err) // Wait may have more to say
	default:
		r.ctxErr = ctx.Err()
		if r.ending == "" || r.ending == Cancelled {
			r.ending, r.endErr = Cancelled, contextError(ctx)
		}
	}
}

// cancel is the Cancel that CommandContext sets.
func (r *run) cancel() error {
	r.mu.Lock()
	finished := r.finished
	r.mu.Unlock()
	if r.beginStop(Cancelled, nil, r.plan) == nil || finished {
		return os.ErrProcessDone
	}
	return nil
}

// countWaitDelay starts the clock of Cmd.WaitDelay, unless it already runs.
func (r *run) countWaitDelay() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.cmd.WaitDelay > 0 && r.interrupted.IsZero() {
		r.interrupted = time.Now()
		r.forceTimers = append(r.forceTimers, time.AfterFunc(r.cmd.WaitDelay, r.force))
	}
}

// force ends the patience of the stop plan and with Keep, or kills if no stop has begun.
func (r *run) force() {
	r.dontAsk()
	if s := r.beginStop(Cancelled, nil, StopPlan{}); s != nil {
		s.Force()
	}
}

// beginStop begins the stop of the run with the given plan, or joins the one that
// has begun. It returns nil if there is nothing to stop any more.
func (r *run) beginStop(ending Ending, err error, plan StopPlan) *stop.Stopper {
	if r.letGo() {
		return nil
	}
	r.lockForStop()
	defer r.mu.Unlock()
	if r.stop == nil && !r.noMoreStops && r.phase != phaseReleased {
		if !r.finished && r.ending == "" {
			r.ending, r.endErr = ending, err
		}
		r.log.Debug("corral: stopping the run", "because", ending)
		s := stop.New(r.cont, plan.internal(), r.leader.PID, r.log)
		s.CloseInput = r.cmd.stdio.closeInput
		r.events.watch(s, ending, nil)
		s.Looking = r.looking
		r.stop = s
		close(r.stopping)
		go func() {
			r.sortLeftovers()
			s.Run()
			if r.events != nil {
				r.events.settle(leftoversOf(s.Leftovers))
			}
			switch {
			case s.LeaderAlive:
				r.giveUp()
			case s.LookErr != nil: // the leader may be alive; if it is not, there is an event for that
				time.AfterFunc(stop.LastLookPatience, r.giveUp)
			}
		}()
	}
	return r.stop
}

// stopAndWait is Cmd.Stop and Cmd.StopWith.
func (r *run) stopAndWait(ctx context.Context, plan StopPlan) error {
	s := r.beginStop(Stopped, nil, plan)
	if s == nil {
		if s = r.stopHeld(plan); s == nil {
			return r.unlessReleased(nil)
		}
	}
	return awaitStop(ctx, s)
}

func awaitStop(ctx context.Context, s *stop.Stopper) error {
	select {
	case <-s.Done:
		return stopError(s)
	case <-ctx.Done():
		return fmt.Errorf("corral: Stop does not wait any longer, but the stop goes on: %w", contextError(ctx))
	}
}

// contextError is ctx's error, joined with its cause if that is another one.
func contextError(ctx context.Context) error {
	err, cause := ctx.Err(), context.Cause(ctx)
	if cause == err {
		return err
	}
	return errjoin.Join(err, cause)
}
