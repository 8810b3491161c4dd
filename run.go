package corral

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/corral-run/corral/internal/errjoin"
	"github.com/corral-run/corral/internal/helper"
	"github.com/corral-run/corral/internal/hold"
	"github.com/corral-run/corral/internal/osproc"
	"github.com/corral-run/corral/internal/proctree"
	"github.com/corral-run/corral/internal/stop"
)

// copyDelay is how long a pipe that somebody outside the run holds open is
// waited for, if Cmd.WaitDelay does not say.
const copyDelay = time.Second

// run is the life of one started command.
//
// One goroutine sees to it that leftovers are dealt with as soon as the leader
// has ended: the one that called Cmd.Run, or one of the run's own. Stopping is
// the business of a stopper, of which there is at most one.
type run struct {
	cmd     *Cmd
	inner   *exec.Cmd
	cont    *choice
	plan    StopPlan
	log     *slog.Logger
	leader  proctree.ID
	process *os.Process // the caller's, of the leader
	started time.Time

	inline     bool // supervise is called by wait
	ownThread  bool // the thread that started the leader is kept until it has ended
	waitCalled atomic.Bool
	tooLate    atomic.Bool // Wait has been called after Process.Release
	reapable   atomic.Bool // the leader has ended, and the containment does not need its zombie
	reapOnce   sync.Once
	state      *os.ProcessState
	reapErr    error

	giveUp      context.CancelFunc // ends the wait for a leader that cannot be killed
	giveUpCtx   context.Context
	over        chan struct{} // closed when nothing is left that is to be stopped, and
	stuck       bool          // that the leader has not ended is known
	ctxStop     func() bool   // takes the context's watch back
	ctxHandled  chan struct{} // closed when the context's end has been seen to
	timeout     *time.Timer
	forceTimers []*time.Timer

	mu          sync.Mutex
	stop        *stop.Stopper
	stopping    chan struct{} // closed when there is one
	closing     bool          // no stop can begin any more
	ending      Ending
	endErr      error     // the timeout's, the lifeline's, or the context's with its cause
	ctxErr      error     // what os/exec makes of the context's end
	interrupted time.Time // when WaitDelay began to count
	finished    bool      // the leader has ended, and a stop does not interrupt what the run was for
	kept        []Leftover
	unknown     error // why it is not known what has been kept

	// See release.go.
	watched, decided bool // Start has done all that it does; what becomes of the run is settled
	released         bool // the run has been let go
	releaseTimer     *time.Timer
	letGoOf          []proctree.Process

	using  sync.RWMutex // for reading, by who uses the containment at the caller's request
	closed bool         // the containment is

	lines    []lifeline
	watching sync.WaitGroup // of lifelines

	closeOnce sync.Once
	garbage   runtime.Cleanup // closes the containment of a run whose Cmd nobody has any more

	report atomic.Pointer[Report]
}

func newRun(c *Cmd) *run {
	r := &run{
		cmd: c, inner: c.inner(), plan: c.StopPlan, log: c.logger(),
		over: make(chan struct{}), stopping: make(chan struct{}),
	}
	if r.plan == nil {
		r.plan = DefaultStopPlan()
	}
	r.giveUpCtx, r.giveUp = context.WithCancel(context.Background())
	return r
}

// prepare gets all that the start takes. What it has got is given up by close.
func (r *run) prepare() (err error) {
	c := r.cmd
	if r.lines, err = openLifelines(c.Lifelines); err != nil {
		return err
	}
	if c.stdio.lifeline, err = newInputLine(c); err != nil {
		return err
	}
	r.cont, err = choose(c.Containment, c.Require, hold.Request{
		Attr: c.SysProcAttr, Plan: r.plan.internal(), Log: r.log, HelperPath: HelperPath,
		KeepLeftovers: c.Leftovers.keeps(), Detach: c.Leftovers == DetachLeftovers, WaitForLeftovers: c.Leftovers == WaitForLeftovers,
	})
	if err != nil {
		return err
	}
	if c.AdoptOrphans {
		if err := r.cont.adopt(); err != nil {
			return err
		}
	}
	if err := c.stdio.connect(c, r.inner); err != nil {
		return err
	}
	return r.cont.Prepare(r.inner)
}

func (c *Cmd) logger() *slog.Logger {
	if c.Logger == nil {
		return slog.New(slog.DiscardHandler)
	}
	return c.Logger
}

// start starts the leader, and the goroutine that looks after the run unless
// inline says that the caller is going to.
func (r *run) start(inline bool) error {
	r.inline = inline
	r.ownThread = hold.NeedsOwnThread(r.inner.SysProcAttr)
	if inline {
		if r.ownThread {
			runtime.LockOSThread()
		}
		err := r.begin()
		if err != nil && r.ownThread {
			runtime.UnlockOSThread()
		}
		return err
	}
	if !r.ownThread {
		err := r.begin()
		if err == nil {
			go r.supervise()
		}
		return err
	}
	began := make(chan error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := r.begin()
		began <- err
		if err == nil {
			r.supervise()
			r.outstay()
		}
	}()
	return <-began
}

// begin starts the leader inside its containment.
func (r *run) begin() error {
	r.started = time.Now()
	leader, id, err := r.cont.Start(r.inner)
	if err != nil {
		return err
	}
	r.leader, r.process = id, leader
	r.cmd.setProcess(leader)
	if r.cont.lacking != "" {
		r.log.Warn("corral: " + r.cont.lacking)
	}
	r.log.Debug("corral: started", "pid", id.PID, "containment", r.cont.name)
	return nil
}

// watch arranges for the run to be stopped when its time, its context or a
// lifeline ends.
func (r *run) watch(ctx context.Context) {
	c := r.cmd
	r.watchLifelines()
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

// contextDone calls the caller's Cancel, or the stop plan by way of it.
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

// contextError is ctx's error, and its cause if that is another one.
func contextError(ctx context.Context) error {
	err, cause := ctx.Err(), context.Cause(ctx)
	if cause == err {
		return err
	}
	return errjoin.Join(err, cause)
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

// countWaitDelay starts the clock of Cmd.WaitDelay, unless it runs already.
func (r *run) countWaitDelay() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.cmd.WaitDelay > 0 && r.interrupted.IsZero() {
		r.interrupted = time.Now()
		r.forceTimers = append(r.forceTimers, time.AfterFunc(r.cmd.WaitDelay, r.force))
	}
}

// force ends the stop plan's patience, or kills where no stop has begun.
func (r *run) force() {
	if s := r.beginStop(Cancelled, nil, StopPlan{}); s != nil {
		s.Force()
	}
}

// beginStop begins the stop of the run with the given plan, or joins the one
// there is. It returns nil if there is nothing to stop any more.
func (r *run) beginStop(ending Ending, err error, plan StopPlan) *stop.Stopper {
	if r.letGo() {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.stop == nil && !r.closing && !r.released {
		if !r.finished && r.ending == "" {
			r.ending, r.endErr = ending, err
		}
		r.log.Debug("corral: stopping the run", "because", ending)
		s := stop.New(r.cont, plan.internal(), r.leader.PID, r.log)
		r.stop = s
		close(r.stopping)
		go func() {
			s.Run()
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

func (r *run) stopAndWait(ctx context.Context, plan StopPlan) error {
	s := r.beginStop(Stopped, nil, plan)
	if s == nil {
		return r.after(nil)
	}
	select {
	case <-s.Done:
		return stopError(s)
	case <-ctx.Done():
		return fmt.Errorf("corral: the stop goes on: %w", contextError(ctx))
	}
}

// supervise waits for the leader to end and deals with what it leaves.
func (r *run) supervise() {
	defer close(r.over)
	pinned, err := r.cont.Exited(r.giveUpCtx)
	if r.decide() {
		r.part()
		return
	}
	switch {
	case err == nil:
		r.mu.Lock()
		r.finished = r.cmd.Leftovers != WaitForLeftovers
		r.mu.Unlock()
		if r.cmd.Leftovers == KillLeftovers || r.cmd.Leftovers == FailOnLeftovers {
			r.countWaitDelay()
		}
		if !pinned {
			r.reapable.Store(true)
			r.reapIfWaited()
		}
	case r.giveUpCtx.Err() == nil:
		r.log.Warn("corral: cannot wait for the command", "error", err)
	default:
		r.stuck = true
	}
	r.applyPolicy()
	r.unclaimed(pinned)
}

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
	left = stop.WithDetails(left)
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

// reapIfWaited reaps the leader as soon as it has ended and Wait has been called,
// whichever comes last: what it leaves may run for hours. If nobody waits, it stays a
// zombie, as under os/exec.
func (r *run) reapIfWaited() {
	if r.reapable.Load() && r.waitCalled.Load() && !r.tooLate.Load() {
		r.reap()
	}
}

func (r *run) reap() error {
	r.reapOnce.Do(func() { r.state, r.reapErr = r.cont.Reap() })
	return r.reapErr
}

func (r *run) claimWait() bool {
	r.letGo()
	if !r.inline && osproc.Released(r.process) {
		r.tooLate.Store(true)
	}
	return r.waitCalled.CompareAndSwap(false, true)
}

// wait is Cmd.Wait.
func (r *run) wait() error {
	if r.inline {
		r.supervise()
		if r.ownThread {
			runtime.UnlockOSThread()
		}
	}
	r.reapIfWaited()
	<-r.over
	if r.isReleased() {
		return r.waitReleased()
	}
	if r.timeout != nil {
		r.timeout.Stop()
	}
	if r.ctxStop != nil && !r.ctxStop() {
		<-r.ctxHandled
	}
	ioErr := r.cmd.stdio.finish(r.remainingDelay(), r.cmd.Leftovers.keeps() && r.stop == nil)
	var exitErr error
	switch {
	case r.tooLate.Load():
		exitErr = syscall.EINVAL // as under os/exec
	case !r.stuck:
		exitErr = r.reap()
	}
	r.close()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.cmd.setState(r.state)
	rep := r.makeReport()
	r.report.Store(rep)
	return r.waitError(exitErr, ioErr, rep)
}

// close gives up all that the owner has of a run that is over, has been let go, or could
// not be started, but for the streams.
func (r *run) close() {
	r.closeOnce.Do(func() {
		r.giveUp()
		r.watching.Wait()
		closeLifelines(r.lines)
		r.closeContainment()
		r.mu.Lock()
		defer r.mu.Unlock()
		for _, t := range r.forceTimers {
			t.Stop()
		}
		r.garbage.Stop()
	})
}

// closeContainment closes the containment when nobody uses it any more. That may be the stop
// still, which has not waited for all that it has begun; it is waited for here, for as long
// as that may reasonably take.
func (r *run) closeContainment() {
	r.using.Lock()
	r.closed = true
	r.using.Unlock()
	if r.cont == nil { // there has been none
		return
	}
	if r.stop == nil {
		r.cont.Close()
		return
	}
	closed := make(chan struct{})
	go func() {
		r.stop.WaitIdle()
		r.cont.Close()
		close(closed)
	}()
	select {
	case <-closed:
	case <-time.After(stop.KillPatience):
		r.log.Warn("corral: a look at the members, or a signal to them, has not come to an end")
	}
}

// remainingDelay is how long a pipe may still be held open.
func (r *run) remainingDelay() time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.cmd.WaitDelay <= 0:
		return copyDelay
	case r.interrupted.IsZero():
		return r.cmd.WaitDelay
	}
	return max(0, r.cmd.WaitDelay-time.Since(r.interrupted))
}

// waitError is the error of Wait, by the rule that stands there.
func (r *run) waitError(exitErr, ioErr error, rep *Report) error {
	var exit *ExitError
	var status error // what os/exec has of the leader
	switch {
	case errors.As(exitErr, &exit):
		status = exit
	case r.state == nil:
		status = exitErr
	}
	if r.cmd.AdoptOrphans && errors.Is(exitErr, ErrKeeperLost) {
		exitErr = status // what the keeper had came to the owner
	}
	var left []error
	if r.stop != nil {
		left = append(left, stopError(r.stop))
	}
	if r.unknown != nil {
		left = append(left, survivorError(nil, r.unknown))
	}
	if r.stuck || r.cmd.joinsErrors() {
		return r.joinedError(exitErr, ioErr, left, rep)
	}
	std := []error{status, r.ctxErr}
	if ioErr != ErrWaitDelay || r.cmd.WaitDelay > 0 { // else os/exec would still wait
		std = append(std, ioErr)
	}
	return firstOf(append(std, errjoin.Join(append(left, exitErr)...), ioErr))
}

// joinsErrors reports whether a field is set that has an error of its own.
func (c *Cmd) joinsErrors() bool {
	return c.Timeout > 0 || len(c.Lifelines) > 0 || c.Leftovers == FailOnLeftovers
}

// joinedError is the error of Wait with all there is to say; but if the command failed or
// was stopped, so may the copying have been.
func (r *run) joinedError(exitErr, ioErr error, left []error, rep *Report) error {
	errs := []error{r.endErr, exitErr}
	if exitErr == nil && !errors.Is(r.endErr, r.ctxErr) {
		errs = append(errs, r.ctxErr)
	}
	errs = append(errs, left...)
	if r.cmd.Leftovers == FailOnLeftovers && rep.Ending == Exited && len(rep.Leftovers) > 0 {
		errs = append(errs, &LeftoverError{Leftovers: rep.Leftovers})
	}
	return firstOf([]error{errjoin.Join(errs...), ioErr})
}

// makeReport is called when all is over, with mu held.
func (r *run) makeReport() *Report {
	rep := &Report{
		Command:       r.argv(),
		Leader:        Process{PID: r.leader.PID, Start: r.leader.Start, Command: r.argv()},
		Containment:   r.cont.name,
		Declined:      slices.Concat([]Declined{}, r.cont.declined), // in JSON, nothing is a list too
		KeeperLost:    errors.Is(r.reapErr, ErrKeeperLost),
		Holders:       r.cmd.stdio.holders,
		OutputDropped: r.cmd.stdio.dropped(),
		Started:       r.started,
		Elapsed:       time.Since(r.started),
	}
	r.reportEnding(rep)
	r.reportLeftovers(rep)
	r.reportFacts(rep)
	return rep
}

// reportEnding says why the run ended, and how the leader did.
func (r *run) reportEnding(rep *Report) {
	rep.Ending, rep.ExitCode = cmp.Or(r.ending, Exited), -1
	switch ctx := r.cmd.ctx; {
	case r.ending == Cancelled && ctx != nil && ctx.Err() != nil:
		rep.Cause = context.Cause(ctx).Error()
	case r.endErr != nil:
		rep.Cause = r.endErr.Error()
	}
	var lifeline *LifelineError
	if errors.As(r.endErr, &lifeline) {
		rep.Lifeline = lifeline.Lifeline
	}
	if state := r.state; state != nil {
		rep.ExitCode = state.ExitCode()
		rep.Signal = endedBy(state)
		rep.UserTime, rep.SystemTime = state.UserTime(), state.SystemTime()
		rep.PeakMemory = peakMemory(state)
	}
}

// reportLeftovers says what was left, and what has been done about it.
func (r *run) reportLeftovers(rep *Report) {
	unknown := r.unknown
	rep.Leftovers = r.kept
	if s := r.stop; s != nil {
		rep.Leftovers, rep.Forced = leftoversOf(s.Leftovers), s.Killed
		if s.SignalErr != nil {
			rep.SignalError = s.SignalErr.Error()
		}
		unknown = s.LookErr
	}
	if unknown != nil {
		rep.Unknown = unknown.Error()
	}
	if rep.Leftovers == nil {
		rep.Leftovers = []Leftover{}
	}
}

// reportFacts says what the containment knows.
func (r *run) reportFacts(rep *Report) {
	known := r.cont.Facts()
	rep.Unguarded, rep.BestEffort = known.Unguarded, known.BestEffort
	if lacking := r.cont.lacking; lacking != "" {
		if rep.BestEffort != "" {
			rep.BestEffort += "; "
		}
		rep.BestEffort += lacking
	}
	rep.UserTime = max(rep.UserTime, known.Used.User)
	rep.SystemTime = max(rep.SystemTime, known.Used.System)
	rep.PeakMemory = max(rep.PeakMemory, known.Used.PeakMemory)
}

func (r *run) argv() []string {
	if len(r.cmd.Args) > 0 {
		return r.cmd.Args
	}
	return []string{r.cmd.Path}
}

// signal is Cmd.Signal.
func (r *run) signal(sig os.Signal) error {
	r.using.RLock()
	defer r.using.RUnlock()
	if r.closed {
		return r.after(os.ErrProcessDone)
	}
	if sig != os.Kill {
		return r.cont.Signal(sig)
	}
	r.mu.Lock()
	s := r.stop
	r.mu.Unlock()
	if s != nil {
		s.Force()
	}
	return r.cont.Kill()
}

// members is Cmd.Members.
func (r *run) members() ([]Process, error) {
	r.using.RLock()
	defer r.using.RUnlock()
	if r.closed {
		return nil, r.after(nil)
	}
	rows, err := r.cont.Members()
	return describe(rows), err
}
