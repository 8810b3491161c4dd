// Package stop is the one stop of a run: the steps of a plan, then the kill, and a
// record of whom it met and what became of them. It sees only the members of a run.
// The owner uses it, and so does the keeper, which stops a run that has lost its
// owner.
package stop

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/corral-run/corral/internal/helper"
	"github.com/corral-run/corral/internal/proctree"
)

const (
	// KillPatience bounds the wait for members to be gone once they have been
	// killed. Only a member in uninterruptible sleep, or one that Corral may not
	// signal, outlasts it.
	KillPatience = 5 * time.Second

	// signalPatience is the least time that a signal is given to reach the members.
	// If they fork faster than they are signalled, it never ends.
	signalPatience = time.Second

	// LookPatience bounds how long a signal waits for a look, which the Report
	// needs. Members decide how long a look takes: there may be thousands, or one
	// whose arguments cannot be read.
	LookPatience = time.Second

	// LastLookPatience bounds the look that alone decides whether a member is left.
	LastLookPatience = time.Second
)

// Members are what a stop is about.
type Members interface {
	// Signal sends the signals, in this order, to every member, each once. The
	// error is os.ErrProcessDone if there is none, os.ErrPermission if none may be
	// signalled.
	Signal(...os.Signal) error

	// Kill ends every member, forks in flight included. It may be called again.
	Kill() error

	// Members returns the live members, without details such as arguments, which
	// take another look. A leader that has ended is not among them, reaped or not.
	Members() ([]proctree.Process, error)

	// Empty returns nil when no member is left, or ctx's error. It waits for
	// events, not for intervals to pass.
	Empty(ctx context.Context) error
}

// What became of a member.
const (
	Signalled = "signalled" // it ended during a step of the plan
	Forced    = "forced"    // the containment's kill was needed
	Survived  = "survived"  // it could not be killed; Reason says why
	Ended     = "ended"     // by itself, when it was due to be killed but may not be
)

// Leftover is a member that a stop has seen, and what became of it. The leader is
// one only if it could not be stopped.
type Leftover struct {
	proctree.ID
	Command []string
	Fate    string
	Signal  string // in whose step it ended, such as "SIGTERM", if it was signalled
	Reason  string // why it survived
}

func leftoverOf(row proctree.Process) Leftover { return Leftover{ID: row.ID, Command: row.Command()} }

func (r Leftover) String() string {
	return fmt.Sprintf("%d (%s)", r.PID, strings.Join(r.Command, " "))
}

// Stopper is the one stop of a run.
type Stopper struct {
	cont   Members
	plan   Plan
	leader int                   // its PID; it is not a leftover
	why    func(Leftover) string // why a member is still alive; empty if it is not
	silent bool                  // nobody will ask for the leftovers, so it does not look for them
	log    *slog.Logger

	forced    chan struct{} // closed by Force
	forceOnce sync.Once

	busy    sync.WaitGroup            // calls to the containment; they may outlast the stop
	looking chan sight                // a look that goes on, or nil
	naming  <-chan []proctree.Process // likewise
	helpers map[proctree.ID]bool      // among the leftovers
	beyond  map[proctree.ID]bool      // likewise, those that may not be killed

	Done        chan struct{} // closed when what follows is final
	Leftovers   []Leftover
	LookErr     error // why it is unknown whether more is left
	SignalErr   error // why members could not be signalled, in the last step that failed
	Killed      bool
	LeaderAlive bool
	leaderSeen  Leftover // when it was last seen alive
}

// New returns a stop of the run by the plan. The caller runs it once.
func New(cont Members, plan Plan, leader int, log *slog.Logger) *Stopper {
	return &Stopper{
		cont: cont, plan: plan, leader: leader, why: whyAlive, log: log, helpers: make(map[proctree.ID]bool), beyond: make(map[proctree.ID]bool),
		forced: make(chan struct{}), Done: make(chan struct{}),
	}
}

// NewQuiet is New for a helper: nobody will ask for the leftovers, or read a log.
func NewQuiet(cont Members, plan Plan, leader int) *Stopper {
	s := New(cont, plan, leader, slog.New(slog.DiscardHandler))
	s.silent = true
	return s
}

// Run stops the run. It takes at most the waits of the plan, KillPatience, and the
// patience for its looks.
func (s *Stopper) Run() {
	defer close(s.Done)
	defer s.dropHelpers()
	last := "" // the signal that has been sent most recently
	for _, step := range s.plan {
		if step.Signal == os.Kill || s.isForced() {
			break
		}
		if s.look(Signalled, last, LookPatience) {
			return
		}
		last = SignalName(step.Signal)
		if s.takeStep(step) {
			if s.isForced() { // whoever forced the stop has killed the run as well: see run.signal in the root package
				s.Killed = true
				s.allGone(Forced, "")
			} else {
				s.allGone(Signalled, last)
			}
			return
		}
	}
	if s.look(Signalled, last, LookPatience) {
		return
	}
	if s.kill() {
		s.allGone(Forced, "")
		return
	}
	if !s.look(Forced, "", LastLookPatience) {
		s.giveUp()
	}
}

// Force ends the plan's waiting: the kill is due now.
func (s *Stopper) Force() { s.forceOnce.Do(func() { close(s.forced) }) }

// WaitIdle waits until nothing of the stop uses the containment any more.
func (s *Stopper) WaitIdle() { s.busy.Wait() }

func (s *Stopper) isForced() bool {
	select {
	case <-s.forced:
		return true
	default:
		return false
	}
}

// sight is what a look has seen.
type sight struct {
	rows []proctree.Process
	err  error
}

// look records the members, so that the Report can name them once they are gone,
// and reports whether there are none. Those that an earlier look saw and this one
// does not have met the given fate.
//
// It takes no longer than patience. What it has not seen by then, the next look
// records.
func (s *Stopper) look(fate string, signal string, patience time.Duration) (none bool) {
	if s.silent {
		return false // the next step finds out
	}
	enough := time.NewTimer(patience)
	defer enough.Stop()
	var seen sight
	for fresh := false; !fresh; { // what an earlier look has seen may be gone
		if fresh = s.looking == nil; fresh {
			s.looking = make(chan sight, 1)
			seen := s.looking
			s.busy.Go(func() {
				rows, err := s.cont.Members()
				seen <- sight{rows, err}
			})
		}
		select {
		case seen = <-s.looking:
			s.looking = nil
			if s.record(seen, fate, signal) {
				return true
			}
		case <-enough.C:
			s.LookErr = fmt.Errorf("a look at the members took more than %v", patience)
			return false
		}
	}
	s.recordNames(seen.rows, enough.C)
	return false
}

// recordNames records the command lines of the members.
func (s *Stopper) recordNames(rows []proctree.Process, enough <-chan time.Time) {
	for fresh := len(rows) == 0; !fresh; {
		if fresh = s.naming == nil; fresh {
			s.naming = detailing(rows)
		}
		select {
		case rows := <-s.naming:
			s.naming = nil
			s.rename(rows)
		case <-enough:
			return
		}
	}
}

// detailing returns a channel that gets the rows with their details. A process can
// keep whoever reads its details waiting for as long as it lives.
func detailing(rows []proctree.Process) <-chan []proctree.Process {
	done := make(chan []proctree.Process, 1)
	go func() { done <- proctree.Details(rows) }()
	return done
}

// WithDetails returns the rows with their details, or as they are if that takes too
// long.
func WithDetails(rows []proctree.Process) []proctree.Process {
	if !slices.ContainsFunc(rows, func(p proctree.Process) bool { return p.Args == nil }) {
		return rows
	}
	enough := time.NewTimer(LookPatience)
	defer enough.Stop()
	select {
	case rows = <-detailing(rows):
	case <-enough.C:
	}
	return rows
}

// rename updates the command lines of leftovers, and notes which are helpers.
func (s *Stopper) rename(rows []proctree.Process) {
	for _, row := range rows {
		for i := range s.Leftovers {
			if l := &s.Leftovers[i]; l.ID == row.ID && len(row.Args) > 0 {
				l.Command = row.Command() // it may have executed something else
			}
		}
		if helper.Is(row) {
			s.helpers[row.ID] = true
		}
	}
}

// record records what a look has seen, and reports whether that is nobody.
func (s *Stopper) record(seen sight, fate string, signal string) (none bool) {
	s.LookErr = seen.err
	if seen.err != nil {
		s.log.Warn("corral: cannot list the members", "error", seen.err)
		return false
	}
	there := make(map[proctree.ID]Leftover, len(seen.rows))
	s.LeaderAlive = false
	for _, row := range seen.rows { // one may be listed twice
		if row.PID == s.leader {
			s.LeaderAlive, s.leaderSeen = true, leftoverOf(row)
		} else {
			there[row.ID] = leftoverOf(row)
		}
	}
	for i := range s.Leftovers {
		l := &s.Leftovers[i]
		if _, alive := there[l.ID]; alive {
			delete(there, l.ID) // known already
		} else if l.Fate == "" {
			s.setFate(l, fate, signal)
		}
	}
	fresh := slices.Collect(maps.Values(there))
	slices.SortFunc(fresh, func(a, b Leftover) int { return a.PID - b.PID })
	for _, p := range fresh {
		s.Leftovers = append(s.Leftovers, p)
	}
	return len(seen.rows) == 0
}

// dropHelpers drops the helpers of other runs, whose owners were members of this
// one, unless they have survived: the command did not leave them.
func (s *Stopper) dropHelpers() {
	s.Leftovers = slices.DeleteFunc(s.Leftovers, func(l Leftover) bool {
		return l.Fate != Survived && s.helpers[l.ID]
	})
}

// recordLate records the looks that nobody has waited for: for the Report, a late
// look is better than none.
func (s *Stopper) recordLate() {
	if s.looking == nil && s.naming == nil {
		return
	}
	enough := time.NewTimer(LastLookPatience)
	defer enough.Stop()
	if s.looking != nil {
		select {
		case seen := <-s.looking:
			s.record(seen, "", "")
		case <-enough.C:
			return
		}
	}
	if s.naming != nil {
		select {
		case rows := <-s.naming:
			s.rename(rows)
		case <-enough.C:
		}
	}
}

// allGone records that nothing is left, and why.
func (s *Stopper) allGone(fate string, signal string) {
	s.recordLate()
	s.LeaderAlive, s.LookErr = false, nil
	for i := range s.Leftovers {
		if l := &s.Leftovers[i]; l.Fate == "" {
			s.setFate(l, fate, signal)
		}
	}
}

// setFate gives a leftover its fate. A process that may not be killed has not been
// killed.
func (s *Stopper) setFate(l *Leftover, fate string, signal string) {
	if fate == Forced && s.beyond[l.ID] {
		fate = Ended
	}
	l.Fate, l.Signal = fate, signal
}

// askPermission records which of the leftovers may not be killed, while they are
// there to ask about.
func (s *Stopper) askPermission() {
	for _, l := range s.Leftovers {
		if l.Fate == "" && errors.Is(maySignal(l.ID), os.ErrPermission) {
			s.beyond[l.ID] = true
		}
	}
}

// giveUp says why members are still there, the leader among them.
func (s *Stopper) giveUp() {
	if s.LeaderAlive {
		s.Leftovers = append(s.Leftovers, s.leaderSeen)
	}
	for i := range s.Leftovers {
		if l := &s.Leftovers[i]; l.Fate == "" {
			if l.Reason = s.why(*l); l.Reason == "" {
				s.setFate(l, Forced, "")
				if l.PID == s.leader {
					s.LeaderAlive = false
				}
				continue
			}
			l.Fate = Survived
			s.log.Warn("corral: a member could not be stopped", "process", l.String(), "reason", l.Reason)
		}
	}
	if s.LookErr != nil {
		s.log.Warn("corral: cannot tell whether anything is left", "error", s.LookErr)
	}
}

// takeStep takes one step of the plan and reports whether nothing is left.
func (s *Stopper) takeStep(step Step) bool {
	s.log.Debug("corral: signalling the run", "signal", SignalName(step.Signal), "wait", step.Wait)
	signals := []os.Signal{step.Signal}
	if resume != nil {
		signals = append(signals, resume)
	}
	began := time.Now()
	err, done := s.within(max(step.Wait, signalPatience), s.forced, func() error { return s.cont.Signal(signals...) })
	switch {
	case !done:
		s.log.Warn("corral: signalling the run takes too long", "signal", SignalName(step.Signal))
		return false
	case errors.Is(err, os.ErrProcessDone):
		// Only Empty says whether that is true: a member that forks and exits all
		// the time may evade the signal.
	case err != nil:
		// Nobody got a signal, so there is nothing to wait for.
		s.SignalErr = err
		s.log.Warn("corral: cannot signal the run", "signal", SignalName(step.Signal), "error", err)
		return false
	}
	return s.awaitEmpty(max(0, step.Wait-time.Since(began)), s.forced)
}

// kill kills the members and reports whether nothing is left.
func (s *Stopper) kill() bool {
	s.log.Debug("corral: killing the run")
	s.Killed = true
	patience := KillPatience
	s.askPermission()
	switch err, done := s.within(KillPatience, nil, s.cont.Kill); {
	case !done:
		s.log.Warn("corral: killing the run takes too long")
		patience = 0
	case errors.Is(err, os.ErrPermission):
		s.log.Warn("corral: may not kill the run", "error", err)
		patience = 0
	case err != nil:
		s.log.Warn("corral: cannot kill the run", "error", err)
	}
	return s.awaitEmpty(patience, nil)
}

// within returns what send returns. done is false if send takes longer than d, or
// until cut is closed; then it goes on by itself. A helper has nothing else to do,
// and waits.
func (s *Stopper) within(d time.Duration, cut <-chan struct{}, send func() error) (err error, done bool) {
	if s.silent {
		return send(), true
	}
	sent := make(chan error, 1)
	s.busy.Go(func() { sent <- send() })
	enough := time.NewTimer(d)
	defer enough.Stop()
	select {
	case err := <-sent:
		return err, true
	case <-enough.C:
	case <-cut:
	}
	return nil, false
}

// awaitEmpty waits at most d, or until cut is closed, and reports whether nothing
// is left.
func (s *Stopper) awaitEmpty(d time.Duration, cut <-chan struct{}) bool {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	defer cancel()
	if cut != nil && d > 0 {
		stop := make(chan struct{})
		defer close(stop)
		go func() {
			select {
			case <-cut:
				cancel()
			case <-stop:
			}
		}()
	}
	err := s.cont.Empty(ctx)
	if err != nil && ctx.Err() == nil {
		// Without the event, the step still lasts as long as the plan says.
		s.log.Warn("corral: cannot tell when the run is empty", "error", err)
		<-ctx.Done()
	}
	return err == nil
}
