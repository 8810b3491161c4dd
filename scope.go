package corral

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"

	"github.com/corral-run/corral/internal/errjoin"
	"github.com/corral-run/corral/internal/proctree"
	"github.com/corral-run/corral/internal/reach"
	"github.com/corral-run/corral/internal/stop"
)

// A Scope holds what several commands leave behind, until it is closed or its owner
// dies. It is for a program that runs one command after another, some of which start
// servers that the later ones need: the shell tool of a coding agent, a test suite.
//
// A command gets into a Scope by Scope.Command, or by Cmd.Scope. With HoldLeftovers,
// Wait returns when the leader has ended. What it has left lives on, and nothing that
// this starts gets away. The Cmd's Members, Signal, Kill and Stop go on working. Its
// Timeout, IdleTimeout, context and Lifelines have no effect any more.
//
// Output still goes to Cmd.Stdout and Cmd.Stderr after Wait, so these must be safe for
// concurrent use, as a Tail is. When Wait returns, what any process of the Scope has
// written by then has been passed on, unless another command's Writer takes longer for
// that than WaitDelay. (On Windows the last of it may be late.) If several commands
// have the same Writer, what they write at about the same time may change places.
//
// With another policy a command is in the Scope only as long as it runs: Close stops
// it too.
//
// If the owner dies, however it dies, all that a Scope holds is stopped, as it is for
// any run. No other Scope and no other run is touched.
//
// The zero Scope is ready to use. Its methods may be called at the same time.
type Scope struct {
	mu       sync.Mutex
	runs     []*run // that have been started, in this order, and are not over
	starting int
	started  *sync.Cond // signals that starting has become 0
	closing  chan struct{}
	closed   chan struct{} // closed when the two below are final
	report   *ScopeReport
	closeErr error
}

// ScopeReport says what Scope.Close has stopped.
type ScopeReport struct {
	// Leftovers are the processes that Close met, but for the leaders of commands
	// that still ran: their Reports have those.
	Leftovers []Leftover `json:"leftovers"`
	// Unknown says why it is not known whether others are left.
	Unknown string `json:"unknown,omitempty"`
}

// ErrScopeClosed is returned by Start for a command of a Scope that has been closed.
var ErrScopeClosed = errors.New("corral: the Scope is closed")

// Command is like the function Command, for a command of this Scope whose leftovers
// it holds.
func (s *Scope) Command(name string, arg ...string) *Cmd {
	c := Command(name, arg...)
	c.Scope, c.Leftovers = s, HoldLeftovers
	return c
}

// CommandContext is like the function CommandContext, for a command of this Scope
// whose leftovers it holds. When ctx is done before the leader has ended, the whole
// run is stopped, and nothing of it is held. Later it has no effect.
func (s *Scope) CommandContext(ctx context.Context, name string, arg ...string) *Cmd {
	c := CommandContext(ctx, name, arg...)
	c.Scope, c.Leftovers = s, HoldLeftovers
	return c
}

// checkScope checks what has to do with a Scope before anything is opened.
func (c *Cmd) checkScope() error {
	switch {
	case c.Leftovers != HoldLeftovers:
		return nil
	case c.Scope == nil:
		return errors.New("corral: HoldLeftovers needs a Scope: set Cmd.Scope, or use Scope.Command")
	case c.PTY != nil:
		return errors.New("corral: HoldLeftovers and a PTY exclude each other: the terminal is hung up when the command ends")
	case c.AdoptOrphans:
		return errors.New("corral: HoldLeftovers and AdoptOrphans exclude each other: orphans are adopted for one run at a time")
	case c.spares():
		return errors.New("corral: HoldLeftovers and Keep or AllowDetach exclude each other: the Scope holds all that is left")
	case c.OutputLimit > 0:
		return errors.New("corral: HoldLeftovers and OutputLimit exclude each other: let a Tail limit the output")
	}
	return nil
}

// init is called with mu held.
func (s *Scope) init() {
	if s.closing == nil {
		s.closing, s.closed = make(chan struct{}), make(chan struct{})
		s.started = sync.NewCond(&s.mu)
	}
}

// enter lets a command begin to start, unless the Scope is closed. If it does, entered
// follows.
func (s *Scope) enter() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.init()
	if isClosed(s.closing) {
		return ErrScopeClosed
	}
	s.starting++
	return nil
}

// entered ends the start of a command, whether it has been started or not.
func (s *Scope) entered(c *Cmd) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c.Process != nil && !c.run.leftScope {
		s.runs = append(s.runs, c.run)
	}
	if s.starting--; s.starting == 0 {
		s.started.Broadcast()
	}
}

// leave takes out a run that is over, or of which nothing is held.
func (s *Scope) leave(r *run) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r.leftScope = true // perhaps before its start has returned
	s.runs = slices.DeleteFunc(s.runs, func(other *run) bool { return other == r })
}

// all returns the runs.
func (s *Scope) all() []*run {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.runs)
}

// Runs returns the commands of the Scope that still run, or of which something is
// held, in the order in which they were started. A command may be among them for a
// moment after the last of its processes has ended.
func (s *Scope) Runs() []*Cmd {
	var cmds []*Cmd
	for _, r := range s.all() {
		cmds = append(cmds, r.cmd)
	}
	return cmds
}

// Processes returns the live processes of the Scope, leaders included, ordered by
// PID. To list those of one command, use its Members. With an error, the list may
// lack some.
func (s *Scope) Processes() ([]Process, error) {
	var all []Process
	var errs []error
	for _, r := range s.all() {
		members, err := r.members()
		if err != nil && !r.isReleased() {
			errs = append(errs, err)
		}
		all = append(all, members...)
	}
	slices.SortFunc(all, func(a, b Process) int { return a.PID - b.PID })
	return all, errjoin.Join(errs...)
}

// find returns the run that p is a member of. The error is os.ErrProcessDone if p has
// ended, or was never of this Scope.
func (s *Scope) find(p Process) (*run, error) {
	if p.Start == 0 {
		return nil, fmt.Errorf("corral: process %d has no Start: a PID alone may be another process's by now", p.PID)
	}
	id := proctree.ID{PID: p.PID, Start: p.Start}
	var errs []error
	for _, r := range s.all() {
		rows, err := r.rows()
		if slices.ContainsFunc(rows, func(row proctree.Process) bool { return row.ID == id }) {
			return r, nil
		}
		if err != nil {
			errs = append(errs, err)
		}
	}
	switch {
	case !proctree.Same(id):
		return nil, os.ErrProcessDone
	case len(errs) > 0:
		return nil, errjoin.Join(errs...)
	}
	if row, alive := proctree.Live(id); alive {
		return nil, fmt.Errorf("corral: process %d is not of this Scope", row.PID)
	}
	return nil, os.ErrProcessDone
}

// Signal sends sig to p, and to no other process: p is told by PID and start time,
// and must be a member of a run of this Scope. If it has ended, the error is
// os.ErrProcessDone. On Windows, only os.Kill can be sent.
//
// To signal all of a command, use Cmd.Signal.
func (s *Scope) Signal(p Process, sig os.Signal) error {
	r, err := s.find(p)
	if err != nil {
		return err
	}
	r.using.RLock()
	defer r.using.RUnlock()
	if r.closed {
		return os.ErrProcessDone
	}
	err = reach.SignalProcess(proctree.ID{PID: p.PID, Start: p.Start}, sig)
	if errors.Is(err, proctree.ErrGone) {
		err = os.ErrProcessDone
	}
	return err
}

// Stop stops p and the processes that descend from it, by the StopPlan of its
// command. It leaves alone the rest of what the command has left, and what p has
// disowned before: to stop all of a command, use Cmd.Stop. What p disowns while it
// is being stopped, the Scope still holds.
//
// Stop returns nil if p has ended, and a *SurvivorError if one cannot be stopped. If
// ctx is done first, it returns the cause of ctx, and the stop goes on.
func (s *Scope) Stop(ctx context.Context, p Process) error {
	r, err := s.find(p)
	if errors.Is(err, os.ErrProcessDone) {
		return nil
	}
	if err != nil {
		return err
	}
	id := proctree.ID{PID: p.PID, Start: p.Start}
	st := stop.New(&part{r: r, met: map[proctree.ID]bool{id: true}}, r.plan.internal(), 0, r.log)
	st.CloseInput = func() error { return errors.New("standard input may be others' as well: Cmd.Stop closes it") }
	r.events.watch(st, Stopped, &id)
	go st.Run()
	return awaitStop(ctx, st)
}

// Close stops all that the Scope holds, and the commands that still run, each by its
// own StopPlan, and returns when nothing is left and the output has been copied. From
// then on, Start returns ErrScopeClosed.
//
// It takes at most the waits of the longest stop plan and five seconds, five more for
// a command with Keep, and then the longest WaitDelay (one second, if that is zero) and a second: a Writer that does not
// return by then is left behind, which is an ErrWaitDelay. If ctx is done first, Close returns
// the cause of ctx, and goes on. Give it a context that has not ended with the
// program's work.
//
// The error is a *SurvivorError if something is left, or may be. Another call waits
// for the first, and returns the same.
func (s *Scope) Close(ctx context.Context) (*ScopeReport, error) {
	s.mu.Lock()
	s.init()
	if !isClosed(s.closing) {
		close(s.closing)
		go s.close()
	}
	s.mu.Unlock()
	select {
	case <-s.closed:
	case <-ctx.Done():
		if isClosed(s.closed) {
			break
		}
		return nil, fmt.Errorf("corral: Close does not wait any longer, but goes on: %w", contextError(ctx))
	}
	return s.report, s.closeErr
}

func (s *Scope) close() {
	defer close(s.closed)
	s.mu.Lock()
	for s.starting > 0 {
		s.started.Wait()
	}
	runs := slices.Clone(s.runs)
	s.mu.Unlock()
	s.report = &ScopeReport{Leftovers: []Leftover{}}
	var all sync.WaitGroup
	var mu sync.Mutex
	var errs []error
	for _, r := range runs {
		all.Go(func() {
			st, err := r.closeHeld()
			mu.Lock()
			defer mu.Unlock()
			if st != nil {
				s.report.Leftovers = append(s.report.Leftovers, leftoversOf(st.Leftovers)...)
				if st.LookErr != nil {
					s.report.Unknown = st.LookErr.Error()
				}
			}
			errs = append(errs, err)
		})
	}
	all.Wait()
	slices.SortFunc(s.report.Leftovers, func(a, b Leftover) int { return a.PID - b.PID })
	s.closeErr = errjoin.Join(errs...)
}

// part is a process of a run and those that descend from it, as the members of a
// stop. Whoever has been seen to be one of them stays one when it becomes an orphan.
type part struct {
	r   *run
	mu  sync.Mutex
	met map[proctree.ID]bool
}

func (p *part) Members() ([]proctree.Process, error) {
	rows, err := p.r.rows()
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	live := make(map[int]proctree.ID)
	for _, row := range rows {
		live[row.PID] = row.ID
	}
	for more := true; more; {
		more = false
		for _, row := range rows {
			// Who is older than its parent is another one's child, whose PID the parent has got.
			parent, ok := live[row.PPID]
			if ok && p.met[parent] && !p.met[row.ID] && row.Start >= parent.Start {
				p.met[row.ID], more = true, true
			}
		}
	}
	return slices.DeleteFunc(rows, func(row proctree.Process) bool { return !p.met[row.ID] }), nil
}

func (p *part) Signal(sigs ...os.Signal) error { return reach.Signal(p.Members, sigs...) }

func (p *part) Kill() error {
	err := reach.Signal(p.Members, os.Kill)
	if errors.Is(err, os.ErrProcessDone) {
		return nil
	}
	return err
}

func (p *part) AwaitEmpty(ctx context.Context) error { return reach.Drain(ctx, p.Members) }

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
