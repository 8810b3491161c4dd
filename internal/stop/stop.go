// Package stop is the one stop of a run: the steps of a plan, then the kill, and a
// record of whom it met and what became of them. It sees only the members of a run.
// The owner uses it, and so does the keeper, which stops a run that has lost its
// owner.
package stop

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

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

// Farewell is how long a command that has been given the end of its input, which is
// a lifeline, has to end by itself. Only tests change it.
var Farewell = 500 * time.Millisecond

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

	// AwaitEmpty returns nil when no member is left, or ctx's error. It waits for
	// events, not for intervals to pass.
	AwaitEmpty(ctx context.Context) error
}

// Stopper is the one stop of a run.
type Stopper struct {
	cont   Members
	plan   Plan
	leader int                   // its PID; it is not a leftover
	why    func(Leftover) string // why a member is still alive; empty if it is not
	silent bool                  // nobody will ask for the leftovers, so it does not look for them
	log    *slog.Logger

	// CloseInput is what the step CloseStdin does. Its error says why there is
	// nothing to close, or why that failed. It may be set before Run.
	CloseInput func() error

	// OnStep and OnMet are told of the stop while it goes on, unless they are nil. They
	// may be set before Run, must not block, and are called by the goroutine of Run.
	OnStep func(Taken)
	// OnMet gets each leftover once. By then it has its name, or will not get one.
	OnMet func(Met)

	forced    chan struct{} // closed by Force
	forceOnce sync.Once
	killing   atomic.Bool // by KillComes

	busy    sync.WaitGroup            // calls to the containment; they may outlast the stop
	Looking Look                      // a look that goes on, which may be the caller's
	naming  <-chan []proctree.Process // likewise
	helpers map[proctree.ID]bool      // among the leftovers
	beyond  map[proctree.ID]bool      // likewise, those that may not be killed
	named   map[proctree.ID]time.Time // when their command lines were recorded
	watch   watch

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
		cont: cont, plan: plan, leader: leader, why: whyAlive, log: log,
		helpers: make(map[proctree.ID]bool), beyond: make(map[proctree.ID]bool), named: make(map[proctree.ID]time.Time),
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
	defer s.tellMet(true)
	defer s.dropHelpers()
	last := "" // the signal that has been sent most recently
	for _, step := range s.plan {
		if step.Signal == os.Kill || s.isForced() {
			break
		}
		if s.look(Signalled, last, s.lookPatience()) {
			s.tellOthersKill()
			return
		}
		last = SignalName(step.Signal)
		if s.takeStep(step) {
			s.tellOthersKill()
			s.allGone(Signalled, last)
			return
		}
	}
	if s.look(Signalled, last, s.lookPatience()) {
		s.tellOthersKill()
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

// tellOthersKill is for when nothing is left: if somebody else has killed the run, that
// is told.
func (s *Stopper) tellOthersKill() {
	if s.killing.Load() {
		s.Killed = true
		s.tellKill()
	}
}

// Force ends the plan's waiting: the kill is due now.
func (s *Stopper) Force() { s.forceOnce.Do(func() { close(s.forced) }) }

// KillComes is Force by a caller that kills the run itself, next. Who is not there any
// more from now on has been killed.
func (s *Stopper) KillComes() {
	s.killing.Store(true)
	s.Force()
}

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

// takeStep takes one step of the plan and reports whether nothing is left.
func (s *Stopper) takeStep(step Step) bool {
	taken := s.nextStep(SignalName(step.Signal), step.Wait)
	act := func() error { return s.cont.Signal(withResume(step.Signal)...) }
	if step.Signal == CloseStdin {
		act = s.closeInput
	}
	began := time.Now()
	err, done := s.within(max(step.Wait, signalPatience), s.forced, act)
	switch {
	case !done:
		taken.Err = errors.New("it takes too long to reach all")
		s.tellStep(taken)
		s.log.Warn("corral: signalling the run takes too long", "signal", SignalName(step.Signal))
		return false
	case errors.Is(err, os.ErrProcessDone):
		// Only Empty says whether that is true: a member that forks and exits all
		// the time may evade the signal.
	case err != nil:
		// Nobody got a signal, so there is nothing to wait for.
		s.SignalErr, taken.Err = err, err
		s.tellStep(taken)
		s.log.Warn("corral: cannot signal the run", "signal", SignalName(step.Signal), "error", err)
		return false
	}
	s.tellStep(taken)
	return s.awaitEmpty(max(0, step.Wait-time.Since(began)), s.forced)
}

// withResume is the signals and, where a process can be stopped, the one that makes
// it run again.
func withResume(sigs ...os.Signal) []os.Signal {
	if resume != nil {
		sigs = append(sigs, resume)
	}
	return sigs
}

// closeInput closes the standard input, and makes who is stopped run again, to see
// its end. Who may not be signalled may see it all the same.
func (s *Stopper) closeInput() error {
	if err := s.CloseInput(); err != nil {
		return err
	}
	if sigs := withResume(); len(sigs) > 0 {
		s.cont.Signal(sigs...)
	}
	return nil
}

// kill kills the members and reports whether nothing is left.
func (s *Stopper) kill() bool {
	s.tellKill()
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
	err := s.cont.AwaitEmpty(ctx)
	if err != nil && ctx.Err() == nil {
		// Without the event, the step still lasts as long as the plan says.
		s.log.Warn("corral: cannot tell when the run is empty", "error", err)
		<-ctx.Done()
	}
	return err == nil
}
