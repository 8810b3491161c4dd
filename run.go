package corral

import (
	"context"
	"log/slog"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/corral-run/corral/internal/detach"
	"github.com/corral-run/corral/internal/hold"
	"github.com/corral-run/corral/internal/observer"
	"github.com/corral-run/corral/internal/osproc"
	"github.com/corral-run/corral/internal/proctree"
	"github.com/corral-run/corral/internal/registry"
	"github.com/corral-run/corral/internal/stop"
)

// copyDelay is how long Wait waits for a pipe that somebody outside the run holds
// open, if Cmd.WaitDelay does not say.
const copyDelay = time.Second

// run is the life of one started command.
//
// One goroutine deals with leftovers as soon as the leader has ended. It is the one
// that called Cmd.Run or, soon after the start, Cmd.Wait; else one of the run's own.
// A Stopper does the stopping; there is at most one.
type run struct {
	cmd     *Cmd
	inner   *exec.Cmd
	cont    *choice
	plan    StopPlan
	log     *slog.Logger
	leader  proctree.ID
	process *os.Process // the caller's, of the leader
	started time.Time

	observer observer.Observer // nobody, but for package corraltest
	events   *events           // nil if nobody wants to be told

	inline      bool         // Cmd.Run has been called
	ownThread   bool         // the thread that started the leader is kept until it has ended
	attended    atomic.Bool  // somebody supervises, or is just about to
	waitClaimed atomic.Bool  // Cmd.Wait has been called
	wait        func() error // waitOnce, called once
	waitCalled  atomic.Bool  // wait has been
	lateWait    atomic.Bool  // that was after Process.Release
	reapable    atomic.Bool  // the leader has ended, and the containment does not need its zombie
	reapOnce    sync.Once
	reaping     sync.Mutex // Wait may be called just when a run that nobody waits for is closed
	state       *os.ProcessState
	reapErr     error

	giveUp      context.CancelFunc // ends the wait for a leader that cannot be killed
	giveUpCtx   context.Context
	over        chan struct{} // closed when nothing is left to stop
	stuck       bool          // set before that, if the leader cannot be made to end
	pinned      bool          // likewise, if it must not be reaped before the run is empty
	ctxStop     func() bool   // takes the context's watch back
	ctxHandled  chan struct{} // closed when the context's end has been seen to
	timeout     *time.Timer
	idle        *idle // nil without an IdleTimeout
	forceTimers []*time.Timer

	mu          sync.Mutex
	stop        *stop.Stopper
	stopping    chan struct{} // closed when a stop has begun
	looking     stop.Look     // one that goes on
	noMoreStops bool          // no stop can begin any more
	ending      Ending
	endErr      error         // the timeout's, the lifeline's, or the context's with its cause
	ctxErr      error         // what os/exec makes of the context's end
	interrupted time.Time     // when WaitDelay began to count
	finished    bool          // the leader has ended, and a stop does not interrupt what the run was for
	patience    chan struct{} // closed when what is left has had the observer's; nil if it gets none
	kept        []Leftover
	unknown     error // why it is not known what has been kept

	// See keep.go.
	sorted sync.Once
	spared []Leftover   // by Cmd.Keep, or at their own request
	door   *detach.Door // for those that leave by themselves

	asking  context.Context // done when the whole run is to be killed, and now: Keep is not asked any more
	dontAsk context.CancelFunc

	// See release.go.
	phase        releasePhase
	releaseTimer *time.Timer
	letGoOf      []proctree.Process

	using  sync.RWMutex   // for reading, by who uses the containment at the caller's request
	closed bool           // the containment is
	looks  sync.WaitGroup // that nobody may wait for any more: see hasty

	lines    []lifeline
	watching sync.WaitGroup // of lifelines

	closeOnce sync.Once
	garbage   runtime.Cleanup // closes the containment of a run whose Cmd nobody has any more

	limiter *limiter // sets limits that each process has for itself; nil if there are none

	held      *held // what a Scope holds of the run; guarded by mu
	leftScope bool  // the Scope holds nothing of it; guarded by the Scope's mu

	listing *listing // in the registry; nil without a Name

	report atomic.Pointer[Report]
}

func newRun(c *Cmd) *run {
	r := &run{
		cmd: c, inner: c.inner(), plan: c.StopPlan,
		over: make(chan struct{}), stopping: make(chan struct{}), observer: observer.Of(c.ctx), events: newEvents(c),
	}
	r.wait = sync.OnceValue(r.waitOnce)
	r.log = r.events.logger()
	if r.plan == nil {
		r.plan = DefaultStopPlan()
	}
	if c.Name != "" {
		r.listing = &listing{started: make(chan struct{}), ended: make(chan struct{})}
		if r.events != nil { // the run has one ID
			r.listing.id = r.events.run
		} else {
			r.listing.id = registry.IDOf(c.ctx)
		}
	}
	if c.IdleTimeout > 0 {
		r.idle = &idle{limit: c.IdleTimeout}
	}
	r.asking, r.dontAsk = context.Background(), func() {}
	if c.spares() {
		r.asking, r.dontAsk = context.WithCancel(r.asking)
	}
	r.giveUpCtx, r.giveUp = context.WithCancel(context.Background())
	return r
}

// prepare gets all that the start needs. close gives it up again.
func (r *run) prepare() (err error) {
	c := r.cmd
	if r.lines, err = openLifelines(c.Lifelines); err != nil {
		return err
	}
	if c.stdio.lifeline, err = newInputLine(c); err != nil {
		return err
	}
	r.cont, err = choose(c.Containment, c.Require, hold.Request{
		Attr: c.SysProcAttr, Plan: c.planForOwnersDeath(r.plan).internal(), Log: r.log, HelperPath: HelperPath,
		KeepLeftovers: c.Leftovers.keeps(), Detach: c.Leftovers == DetachLeftovers,
		WaitForLeftovers: c.Leftovers == WaitForLeftovers || c.Leftovers == HoldLeftovers, Hold: c.Leftovers == HoldLeftovers,
		Spares: c.spares(),
		Limits: c.Limits.ofRun(), Account: c.Accounting,
	}, c.Limits)
	if err != nil {
		return err
	}
	if err := r.openDoor(); err != nil {
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
	if c.Limits.ofProcess() {
		if r.limiter, err = newLimiter(c.Limits, r.inner); err != nil {
			return err
		}
	}
	return r.cont.Prepare(r.inner)
}

var discard = slog.New(slog.DiscardHandler)

// start starts the leader. If inline, the caller calls wait next, then unlockThread.
// Else a goroutine that keeps its thread looks after the run from now on; where there
// is no need for one, see watchRelease.
func (r *run) start(inline bool) error {
	r.inline = inline
	r.ownThread = hold.NeedsOwnThread(r.inner.SysProcAttr)
	if inline {
		if r.ownThread {
			runtime.LockOSThread()
		}
		err := r.begin()
		if err != nil {
			r.unlockThread()
		}
		return err
	}
	if !r.ownThread {
		return r.begin()
	}
	r.attended.Store(true)
	began := make(chan error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := r.begin()
		began <- err
		if err == nil {
			r.supervise()
			r.keepThread()
		}
	}()
	return <-began
}

// unlockThread gives back the thread that an inline start has locked.
func (r *run) unlockThread() {
	if r.ownThread {
		runtime.UnlockOSThread()
	}
}

// begin starts the leader inside its containment.
func (r *run) begin() error {
	r.started = time.Now()
	leader, id, err := r.startLimited()
	if err != nil {
		return err
	}
	r.leader, r.process = id, leader
	r.serveDoor()
	r.cmd.setProcess(leader)
	if r.cont.lacking != "" {
		r.log.Warn("corral: " + r.cont.lacking)
	}
	r.events.started(r)
	return nil
}

// attend reports whether the caller is the one to supervise.
func (r *run) attend() bool { return r.attended.CompareAndSwap(false, true) }

// supervise waits for the leader to end and deals with what it leaves.
func (r *run) supervise() {
	defer close(r.over)
	defer r.leaveScope()
	pinned, err := r.cont.Exited(r.giveUpCtx)
	r.pinned = pinned
	if r.decide() {
		r.closeReleased()
		return
	}
	switch {
	case err == nil:
		r.mu.Lock()
		r.finished = r.cmd.Leftovers != WaitForLeftovers
		if r.cmd.Leftovers.stops() && r.stop == nil && r.observer.Patience() > 0 {
			r.patience = make(chan struct{})
		}
		r.mu.Unlock()
		if r.cmd.Leftovers.stops() {
			r.countWaitDelay()
		}
		if !pinned {
			r.reapable.Store(true)
			if !r.waitCalled.Load() {
				// The caller may be about to. To look for leftovers beside a zombie
				// takes longer.
				runtime.Gosched()
			}
			r.reapIfWaited()
		}
		r.tellLeaderEnded(pinned)
	case r.giveUpCtx.Err() == nil:
		r.log.Warn("corral: cannot wait for the command", "error", err)
	default:
		r.stuck = true
	}
	r.applyPolicy()
	r.door.Close() // nobody gets out any more, and it would keep the Cmd from being garbage
	r.closeUnclaimed(pinned)
}

// reapIfWaited reaps the leader as soon as it has ended and Wait has been called,
// whichever comes last: what the leader leaves may run for hours. If nobody waits,
// the leader stays a zombie, as under os/exec.
func (r *run) reapIfWaited() {
	if r.reapable.Load() && r.waitCalled.Load() && !r.lateWait.Load() {
		r.reap()
	}
}

func (r *run) reap() error {
	r.reapOnce.Do(func() {
		r.reaping.Lock()
		defer r.reaping.Unlock()
		r.state, r.reapErr = r.cont.Reap()
	})
	return r.reapErr
}

// waitOnce waits until the run is over, and fills the Report. Cmd.Wait calls it by
// wait, and so may the observer, while Cmd.Wait is still to be called: both get the
// same answer.
func (r *run) waitOnce() error {
	r.letGo()
	if !r.inline && osproc.Released(r.process) {
		r.lateWait.Store(true)
	}
	r.waitCalled.Store(true)
	defer r.events.flush()
	err := r.waitUntilOver()
	r.unlistWaited(err)
	return err
}

func (r *run) waitUntilOver() error {
	if r.attend() {
		r.stopLooking()
		r.supervise()
	}
	r.reapIfWaited()
	<-r.over
	if r.isReleased() {
		return r.waitReleased()
	}
	if r.timeout != nil {
		r.timeout.Stop()
	}
	r.idle.stop()
	if r.ctxStop != nil && !r.ctxStop() {
		<-r.ctxHandled
	}
	if r.cmd.Leftovers == HoldLeftovers {
		defer r.flushOthers()
	}
	if h := r.heldBy(); h != nil {
		return r.waitHeld(h)
	}
	ioErr := r.cmd.stdio.finish(r.remainingDelay(), r.leavesSome())
	var exitErr error
	switch {
	case r.lateWait.Load():
		exitErr = syscall.EINVAL // as under os/exec
	case !r.stuck:
		exitErr = r.reap()
	}
	r.close()
	known := r.cont.Facts()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.cmd.setState(r.state)
	rep := r.makeReport(known)
	r.report.Store(rep)
	r.events.end(r, rep)
	return r.waitError(exitErr, ioErr, rep)
}

// close gives up all that the owner has of a run that is over, has been let go, or
// could not be started, except the streams.
func (r *run) close() {
	r.closeOnce.Do(func() {
		r.giveUp()
		r.idle.stop()
		r.watching.Wait()
		closeLifelines(r.lines)
		r.door.Close()
		if r.limiter != nil {
			r.limiter.close()
		}
		r.closeContainment()
		r.mu.Lock()
		defer r.mu.Unlock()
		for _, t := range r.forceTimers {
			t.Stop()
		}
		r.garbage.Stop()
	})
}

// closeContainment closes the containment when nobody uses it any more. The stop
// may still use it, as it does not wait for all that it has begun. So this waits
// for the stop, for as long as that may reasonably take.
func (r *run) closeContainment() {
	r.using.Lock()
	r.closed = true
	r.using.Unlock()
	if r.cont == nil { // there has been none
		return
	}
	closeIt := func() {
		r.looks.Wait()
		r.reaping.Lock()
		defer r.reaping.Unlock()
		r.cont.Close()
	}
	s := r.lastStop()
	if s == nil {
		closeIt()
		return
	}
	closed := make(chan struct{})
	go func() {
		s.WaitIdle()
		closeIt()
		close(closed)
	}()
	select {
	case <-closed:
	case <-time.After(stop.KillPatience):
		r.log.Warn("corral: a look at the members, or a signal to them, has not come to an end")
	}
}

// remainingDelay is how much longer a pipe may be held open.
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

// signal is Cmd.Signal.
func (r *run) signal(sig os.Signal) error {
	r.using.RLock()
	defer r.using.RUnlock()
	if r.closed {
		return r.unlessReleased(os.ErrProcessDone)
	}
	if sig != os.Kill {
		return r.cont.Signal(sig)
	}
	r.dontAsk()
	if s := r.lastStop(); s != nil {
		s.KillComes()
	}
	return r.cont.Kill()
}

// members is Cmd.Members.
func (r *run) members() ([]Process, error) {
	rows, err := r.rows()
	return describe(rows), err
}

// rows are the members without details.
func (r *run) rows() ([]proctree.Process, error) {
	r.using.RLock()
	defer r.using.RUnlock()
	if r.closed {
		return nil, r.unlessReleased(nil)
	}
	return r.cont.Members()
}
