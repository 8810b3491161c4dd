package corral

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/corral-run/corral/internal/registry"
)

// RunID returns the identifier under which a run that has a Name is registered, from
// Start until all of it is over: the command corral finds it by that. It is empty for
// a run without a Name. The error says why a run could not be registered, or in the end
// why those that it has kept are not, which is no failure of the run. On Windows none
// can be; that error is an errors.ErrUnsupported.
func (c *Cmd) RunID() (string, error) {
	if c.run == nil || c.run.listing == nil {
		return "", nil
	}
	l := c.run.listing
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.id, cmp.Or(l.err, l.keptErr)
}

// checkListing checks what a run is to be registered with.
func (c *Cmd) checkListing() error {
	switch {
	case c.Name == "" && (len(c.Labels) > 0 || c.Redact):
		return errors.New("corral: Labels and Redact are for a run that is registered: set Cmd.Name")
	case c.Name == "":
		return nil
	}
	if err := registry.CheckName(c.Name); err != nil {
		return fmt.Errorf("corral: Name %q: %w", c.Name, err)
	}
	if err := registry.CheckLabels(c.Labels); err != nil {
		return fmt.Errorf("corral: Labels: %w", err)
	}
	return nil
}

// listing is a run's place in the registry. Its methods do nothing for a run without a
// Name, which has none.
type listing struct {
	id      string
	started chan struct{} // closed when the run has been, and the entry says so
	ended   chan struct{} // closed when the run is taken off

	mu   sync.Mutex
	is   *registry.Listing // nil unless it is registered
	err  error             // why it is not
	late *time.Timer       // until nobody is going to call Wait any more
	over bool

	keptErr error // why those that it has kept are not registered
}

// list registers the run, before its command is started: who hears of that finds it.
// Nothing of the run depends on it.
func (r *run) list() {
	l := r.listing
	if l == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	dir, _ := filepath.Abs(r.cmd.Dir)
	l.is, l.err = registry.Register(registry.Entry{
		ID: l.id, Name: r.cmd.Name, Labels: maps.Clone(r.cmd.Labels),
		Command: registry.Shown(r.argv(), r.cmd.Redact), Redacted: r.cmd.Redact,
		Dir: dir, Program: filepath.Base(os.Args[0]),
		Started: time.Now().UTC(), Containment: string(r.cont.name),
	}, steering{r})
	if l.err != nil {
		r.log.Warn("corral: the run is not registered", "error", l.err)
	}
}

// listStarted completes what is registered of a run that has been started.
func (r *run) listStarted() {
	l := r.listing
	if l == nil {
		return
	}
	defer close(l.started)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.over || l.is == nil {
		return
	}
	leader := registry.Process{PID: r.leader.PID, Start: r.leader.Start}
	err := l.is.Update(func(e *registry.Entry) {
		e.Leader, e.Started, e.Containment = leader, r.started.UTC(), string(r.cont.name)
	})
	if err != nil {
		r.log.Warn("corral: what is registered of the run is not complete", "error", err)
	}
	if r.cmd.Leftovers == DetachLeftovers { // it goes on if the owner is killed
		leader.Command = registry.Shown(r.argv(), r.cmd.Redact)
		r.keepListed([]registry.Process{leader})
	}
}

// listKept makes known whom the run has let go of until now: that outlives the owner,
// however it ends.
func (r *run) listKept() {
	l := r.listing
	if l == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.is == nil || l.over {
		return
	}
	r.mu.Lock()
	kept := r.listed(r.spared)
	r.mu.Unlock()
	r.keepListed(kept)
}

// keepListed registers whom the run has kept. It is called with the listing's mu held.
func (r *run) keepListed(kept []registry.Process) {
	l := r.listing
	err := l.is.Keep(kept)
	if l.keptErr = nil; err != nil && len(kept) > 0 {
		l.keptErr = fmt.Errorf("corral: what the run has kept is not registered: %w", err)
		r.log.Warn("corral: what is kept is not registered", "error", err)
	}
}

// listed are those of the leftovers that live on, as the registry has them.
func (r *run) listed(all []Leftover) (kept []registry.Process) {
	for _, l := range all {
		if l.Fate == Kept || l.Fate == Detached {
			kept = append(kept, registry.Process{
				PID: l.PID, Start: l.Start, Command: registry.Shown(l.Command, r.cmd.Redact), Executable: l.Executable,
			})
		}
	}
	return kept
}

// unlistWaited is unlist when Wait has returned err, unless a Scope holds something.
func (r *run) unlistWaited(err error) {
	if r.listing != nil && r.heldBy() == nil {
		r.unlist(r.report.Load(), err, "")
	}
}

// claimPatience is how long a run that is over stays in the registry if Wait has not
// been called: how it ended is not known before.
const claimPatience = 3 * time.Second

// unlistUnclaimed is unlist for a run that is over while nobody waits for it.
func (r *run) unlistUnclaimed() {
	l := r.listing
	if l == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.over {
		l.late = time.AfterFunc(claimPatience, func() {
			if !r.waitCalled.Load() { // else that sees to it
				r.unlist(nil, nil, registry.NotWaited)
			}
		})
	}
}

// unlist takes the run off the registry when all of it is over, and tells those that
// wait for it how it ended: as rep and err say, or, without a rep, why says.
func (r *run) unlist(rep *Report, err error, why registry.Failure) {
	l := r.listing
	if l == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.over {
		return
	}
	l.over = true
	close(l.ended)
	if l.late != nil {
		l.late.Stop()
	}
	if l.is == nil {
		return
	}
	if rep != nil {
		r.keepListed(r.listed(rep.Leftovers))
	}
	l.is.Close(r.outcome(rep, err, why))
}

func (r *run) outcome(rep *Report, err error, why registry.Failure) registry.Outcome {
	if rep == nil {
		return registry.Outcome{ExitCode: -1, Failed: why}
	}
	o := registry.Outcome{
		Ending: string(rep.Ending), ExitCode: rep.ExitCode, Signal: rep.Signal, Forced: rep.Forced,
		Survivors: len(rep.Survivors()), Unknown: rep.Unknown, Failed: why,
	}
	var exited *ExitError
	var leftovers *LeftoverError
	switch {
	case why != "" || err == nil:
	case errors.As(err, &leftovers):
		o.Failed = registry.FailedLeftovers
	case errors.Is(err, ErrWaitDelay) && (r.cmd.Leftovers.keeps() || len(r.listed(rep.Leftovers)) > 0): // who was kept on purpose holds the output
	case rep.Ending != LifelineLost && !errors.As(err, &exited):
		o.Failed = registry.FailedOther // without its text, in which there may be arguments
	}
	return o
}

// steering does what the command corral asks the owner for.
type steering struct{ r *run }

// errNotStarted: the request has come before there is anything to ask about.
var errNotStarted = errors.New("it is just being started")

// lookPatience and startPatience are how long a client waits for the run to be started:
// who wants to know what it is doing is told soon, and who wants something done, before
// it gives up, which is after ten seconds.
const lookPatience, startPatience = time.Second, 8 * time.Second

// started waits for the run to be started: a client may be quick, and this process slow.
func (s steering) started(patience time.Duration) bool {
	select {
	case <-s.r.listing.started:
		return true
	case <-s.r.listing.ended:
	case <-time.After(patience):
	}
	return false
}

func (s steering) Stop(signal int, grace time.Duration) error {
	if !s.started(startPatience) {
		return errNotStarted
	}
	r, plan, now := s.r, s.r.plan, false
	if signal != 0 {
		sig := signalOf(signal)
		plan = StopPlan{{Signal: sig, Wait: grace}}
		if now = sig == os.Kill; now {
			plan = StopPlan{}
			r.dontAsk()
		}
		if err := plan.check(); err != nil {
			return err
		}
	}
	st := r.beginStop(Stopped, nil, plan)
	if st == nil {
		st = r.stopHeld(plan)
	}
	switch {
	case st == nil && r.isReleased():
		return errLetGo
	case st != nil && now:
		st.Force()
	}
	return nil // if there was nothing to stop any more, its end is near
}

func (s steering) Signal(signal int) error {
	if !s.started(startPatience) {
		return errNotStarted
	}
	if signal <= 0 {
		return fmt.Errorf("corral: %d is no signal that can be sent", signal)
	}
	return s.r.signal(signalOf(signal))
}

func (s steering) Look() (phase string, members []registry.Process, err error) {
	if !s.started(lookPatience) {
		return "starting", nil, nil
	}
	r := s.r
	r.mu.Lock()
	switch {
	case r.stop != nil || r.held != nil && r.held.stop != nil:
		phase = "stopping"
	case r.finished || r.noMoreStops:
		phase = "ending"
	default:
		phase = "running"
	}
	r.mu.Unlock()
	all, err := r.members()
	for _, p := range all {
		members = append(members, registry.Process{PID: p.PID, Start: p.Start, Command: registry.Shown(p.Command, r.cmd.Redact)})
	}
	return phase, members, err
}
