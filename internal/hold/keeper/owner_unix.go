//go:build linux || darwin || freebsd

package keeper

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/corral-run/corral/internal/child"
	"github.com/corral-run/corral/internal/errjoin"
	"github.com/corral-run/corral/internal/helper"
	"github.com/corral-run/corral/internal/hold"
	"github.com/corral-run/corral/internal/kept"
	"github.com/corral-run/corral/internal/osproc"
	"github.com/corral-run/corral/internal/proctree"
	"github.com/corral-run/corral/internal/reach"
	"github.com/corral-run/corral/internal/stop"
	"github.com/corral-run/corral/internal/wire"
	"github.com/corral-run/corral/internal/wire/code"
)

// containment is the owner's side of a keeper.
type containment struct {
	req   hold.Request
	pidns *namespace // not nil if the keeper is the init of a PID namespace

	forLeader []*os.File  // the leader's files, closed once it has them
	proc      *os.Process // the keeper
	line      *os.File
	leader    *os.Process
	id        proctree.ID

	ctx       context.Context // done when the leader need not be watched any more
	stopWatch context.CancelFunc

	inquiry inquiry
	pong    chan struct{} // has an element if the keeper has answered a ping
	killed  atomic.Bool   // the run has been killed

	tookOver atomic.Bool // the owner has killed the keeper

	spared kept.Set

	reapOnce sync.Once
	reaped   *os.ProcessState
	reapErr  error

	ended   chan struct{} // closed when the leader has ended, or the keeper
	emptied chan struct{} // closed when no known member is left
	reading sync.WaitGroup

	mu          sync.Mutex
	phase       phase
	lost        bool // somebody has killed the keeper
	end         *wire.Event
	freed       bool               // the leader's PID is free, or another process's
	lastMembers []proctree.Process // as last seen
	births      int                // before that: see proctree.Births
}

// phase is how far owner and keeper have come. It only grows.
type phase int

const (
	keeping   phase = iota // the keeper keeps the run
	letGo                  // it has been told to let the run go
	dismissed              // it may end: nobody wants to hear from it any more
	buried                 // it has been waited for
)

// advance moves on to the given phase, if that is a later one, and returns the one
// before.
func (k *containment) advance(to phase) (from phase) {
	k.mu.Lock()
	defer k.mu.Unlock()
	from = k.phase
	k.phase = max(from, to)
	return from
}

// currentPhase returns the phase.
func (k *containment) currentPhase() phase {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.phase
}

func (k *containment) isLost() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.lost
}

// namespace is what a PID namespace needs done differently.
type namespace struct {
	unshare func(*syscall.SysProcAttr)
	// translate returns the identity outside of a child of the keeper.
	translate func(keeper int, inside proctree.ID) (proctree.ID, error)
}

// Open returns a containment for one run. The keeper starts with the leader.
func Open(req hold.Request) (hold.Containment, error) {
	if _, err := helper.Program(req.HelperPath); err != nil {
		return nil, err
	}
	if err := proctree.Usable(); err != nil {
		return nil, err
	}
	reapKeepers()
	if err := keeperAllowed(); err != nil {
		return nil, err
	}
	if req.Spares && !canSpare {
		return nil, errors.New("no process can be kept or detached: on this system the keeper lets go of all or of none")
	}
	if req.Attr != nil && req.Attr.Ptrace {
		return nil, errors.New("SysProcAttr.Ptrace would make the keeper the tracer")
	}
	k := &containment{
		req: req, inquiry: inquiry{members: make(chan []proctree.ID, 1), silent: make(chan struct{})},
		pong:  make(chan struct{}, 1),
		ended: make(chan struct{}), emptied: make(chan struct{}),
	}
	k.ctx, k.stopWatch = context.WithCancel(context.Background())
	return k, nil
}

func (k *containment) Prepare(*exec.Cmd) error { return nil }

// awaitKeeper reports whether the keeper ends within the limit. It does not reap
// it. The init of a PID namespace ends only after all members.
func (k *containment) awaitKeeper(limit time.Duration) bool {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	return child.AwaitExit(ctx, k.proc, k.proc.Pid) == nil
}

func (k *containment) Exited(ctx context.Context) (pinned bool, err error) {
	soon := time.NewTimer(firstRouse) // a leader that ends by then needs no watch
	defer soon.Stop()
	select {
	case <-soon.C:
		stop := context.AfterFunc(ctx, k.stopWatch)
		k.watch()
		stop()
	case <-k.ended:
	case <-ctx.Done():
	}
	select {
	case <-k.ended:
		return true, nil
	case <-ctx.Done():
		return true, context.Cause(ctx)
	}
}

// look returns the live members, without the keeper.
func (k *containment) look() ([]proctree.Process, error) { return k.lookAgain(nil) }

// lookAgain is look for one who wants to see others than those known, of whom it
// does not say whether they have ended.
func (k *containment) lookAgain(known []proctree.Process) ([]proctree.Process, error) {
	if isClosed(k.emptied) {
		return nil, nil
	}
	births := proctree.Births()
	rows, err := k.adopted(known)
	if err != nil {
		return nil, err
	}
	if !k.spared.Empty() && k.keeperLives() { // so far: the rows are all there are
		k.spared.Prune(rows)
	}
	rows = k.Without(rows)
	k.mu.Lock()
	lost := k.lost
	// A keeper that has been killed gives its children away: then a look at what is
	// below it is no news.
	if !lost && (len(rows) >= len(k.lastMembers) || k.keeperLives()) {
		k.lastMembers, k.births = slices.Clone(rows), births
	}
	k.mu.Unlock()
	if lost {
		// Those that the keeper had adopted are not seen any more.
		rows = append(rows, k.remaining()...)
	}
	return rows, nil
}

func (k *containment) Members() ([]proctree.Process, error) {
	rows, err := reach.Look(func() ([]proctree.Process, bool, error) {
		rows, err := k.look()
		return rows, isClosed(k.emptied) || k.isLost(), err
	})
	if err != nil && k.emptiesSoon() {
		return nil, nil
	}
	return rows, err
}

func (k *containment) Facts() hold.Facts {
	f := hold.Facts{Adopts: true, Lost: k.isLost(), BestEffort: escapes, OwnersDeath: hold.DeathStops}
	if k.proc != nil {
		f.HelperPID = k.proc.Pid
	}
	return f
}

// Signal has the keeper send the signals where the owner cannot list the members,
// most likely for want of descriptors. Then nobody knows whom they reach.
func (k *containment) Signal(sigs ...os.Signal) error {
	k.mu.Lock()
	seen, births := k.lastMembers, k.births
	k.mu.Unlock()
	err := reach.SignalFrom(seen, births, k.lookAgain, sigs...)
	if err == nil || errors.Is(err, os.ErrProcessDone) || errors.Is(err, os.ErrPermission) {
		return err
	}
	k.wake()
	for _, sig := range sigs {
		number, ok := sig.(syscall.Signal)
		if !ok || number <= 0 || number >= code.SignalBase || k.say(code.SignalBase+byte(number)) != nil {
			return err
		}
	}
	return nil
}

func (k *containment) Kill() error {
	k.wake()
	k.killed.Store(true)
	if err := k.say(code.Kill); err != nil && !isClosed(k.emptied) {
		return reach.Signal(k.look, os.Kill)
	}
	return nil
}

// AwaitEmpty also takes over a killed run from a keeper that does not answer.
func (k *containment) AwaitEmpty(ctx context.Context) error {
	k.wake()
	var late <-chan time.Time
	if k.killed.Load() {
		timer := time.NewTimer(answerTime / 2)
		defer timer.Stop()
		late = timer.C
	}
	for {
		select {
		case <-k.emptied:
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-late:
			if late = nil; !k.responds() {
				k.takeOver()
			}
		}
	}
}

// Tend is AwaitEmpty: a keeper needs nobody to look after it, and when it is killed,
// listen kills what is known of the run.
func (k *containment) Tend(ctx context.Context) error { return k.AwaitEmpty(ctx) }

// Ended says what the keeper has told of the leader's end. If the keeper is lost, so
// is the run, and nothing is left to hold.
func (k *containment) Ended() (*os.ProcessState, error) {
	k.mu.Lock()
	if k.end == nil {
		k.mu.Unlock()
		return k.Reap()
	}
	status, usage := k.end.Status, k.end.Rusage
	k.mu.Unlock()
	osproc.MarkDone(k.leader)
	return osproc.Ended(k.id.PID, status, &usage)
}

// Peek says what the keeper has told so far.
func (k *containment) Peek() *os.ProcessState {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.end == nil {
		return nil
	}
	usage := k.end.Rusage
	return osproc.NewState(k.id.PID, k.end.Status, &usage, nil)
}

// Reap returns the same when it is called again, as it is after Ended.
func (k *containment) Reap() (*os.ProcessState, error) {
	k.reapOnce.Do(func() { k.reaped, k.reapErr = k.reap() })
	return k.reaped, k.reapErr
}

func (k *containment) reap() (*os.ProcessState, error) {
	k.advance(buried)
	k.mu.Lock()
	end, lost := k.end, k.lost
	k.mu.Unlock()
	osproc.MarkDone(k.leader) // while the keeper keeps its PID from being used again
	k.stopWatch()
	var keeper *os.ProcessState
	var err error
	if k.dismiss() {
		keeper, err = k.proc.Wait()
	} else {
		// It is the init of a PID namespace with a process that cannot be killed.
		err = fmt.Errorf("corral: the keeper, process %d, does not end", k.proc.Pid)
	}
	k.line.SetReadDeadline(time.Now().Add(time.Second)) // another process may have its end of the line
	k.reading.Wait()
	if err != nil && end == nil {
		return nil, err
	}
	state := keeper
	if end != nil {
		state = osproc.NewState(k.id.PID, end.Status, &end.Rusage, keeper)
	}
	if state == nil {
		return nil, err
	}
	if !state.Success() {
		err = errjoin.Join(&exec.ExitError{ProcessState: state}, err)
	}
	if lost {
		err = errjoin.Join(err, hold.ErrKeeperLost)
	}
	return state, err
}

// dismiss tells the keeper to end, and reports whether it does.
func (k *containment) dismiss() bool {
	k.say(code.Finish)
	for pause, waited := firstRouse, time.Duration(0); waited < answerTime; pause *= 2 {
		timer := time.NewTimer(pause)
		select {
		case <-k.inquiry.silent:
			timer.Stop()
			return k.pidns == nil || k.awaitKeeper(stop.KillPatience)
		case <-timer.C:
		}
		k.wake()
		waited += pause
	}
	k.proc.Kill()
	return k.awaitKeeper(stop.KillPatience)
}

// LetGo tells the keeper to do nothing but wait for the leader and end with it: a
// leader dies with its keeper.
func (k *containment) LetGo() error {
	k.wake()
	if err := k.say(code.LetGo); err != nil {
		return fmt.Errorf("corral: cannot tell the keeper to let the run go: %w", err)
	}
	k.advance(letGo)
	return nil
}

// Close leaves members that are still there to the keeper, which kills them as soon
// as it can. A keeper whose leader has ended unreaped is reaped with it.
func (k *containment) Close() error {
	k.stopWatch()
	switch from := k.advance(dismissed); {
	case k.line == nil:
		return nil
	case from == letGo:
		reapLater(k.proc)
	case from < buried && isClosed(k.ended):
		k.Reap()
	}
	return k.line.Close()
}

// toReap are the keepers of runs that have been let go. They end with their leaders
// and become zombies of the owner, which has no goroutine for them. The next run
// reaps them.
var toReap struct {
	sync.Mutex
	keepers []proctree.ID
}

// reapLater leaves a keeper for the next run to reap.
func reapLater(keeper *os.Process) {
	id, err := proctree.Identify(keeper.Pid)
	if err == nil {
		toReap.Lock()
		toReap.keepers = append(toReap.keepers, id)
		toReap.Unlock()
	}
	if osproc.HasHandle(keeper) {
		keeper.Release() // for its pidfd
	}
}

// reapKeepers reaps those of them that have ended.
func reapKeepers() {
	toReap.Lock()
	defer toReap.Unlock()
	toReap.keepers = slices.DeleteFunc(toReap.keepers, func(id proctree.ID) bool {
		if !proctree.Same(id) {
			return true // somebody else has reaped it
		}
		pid, err := syscall.Wait4(id.PID, nil, syscall.WNOHANG, nil)
		return pid == id.PID || err == syscall.ECHILD
	})
}
