//go:build linux || darwin || freebsd

package keeper

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/corral-run/corral/internal/child"
	"github.com/corral-run/corral/internal/errjoin"
	"github.com/corral-run/corral/internal/helper"
	"github.com/corral-run/corral/internal/hold"
	"github.com/corral-run/corral/internal/osproc"
	"github.com/corral-run/corral/internal/pgroup"
	"github.com/corral-run/corral/internal/proctree"
	"github.com/corral-run/corral/internal/reach"
	"github.com/corral-run/corral/internal/stop"
	"github.com/corral-run/corral/internal/wire"
	"golang.org/x/sys/unix"
)

// containment is the owner's side of a keeper.
type containment struct {
	req   hold.Request
	pidns *namespace // the keeper is the init of a PID namespace of its own, if not nil

	forLeader []*os.File  // for the leader, closed when it has them
	proc      *os.Process // the keeper
	line      *os.File
	leader    *os.Process
	id        proctree.ID

	ctx       context.Context // done when there is no need any more to watch the leader
	stopWatch context.CancelFunc

	inquiry inquiry
	pong    chan struct{} // has an element if the keeper has said that it is there
	killed  atomic.Bool   // the run has been

	tookOver atomic.Bool // the owner has killed the keeper

	ended   chan struct{} // closed when the leader has, or the keeper
	emptied chan struct{} // closed when nothing is left that is known
	reading sync.WaitGroup

	mu          sync.Mutex
	phase       phase
	end         *wire.Event
	freed       bool          // the leader's PID is nobody's, or another's
	lastMembers []proctree.ID // the members last seen
}

// phase is how far the owner and the keeper have come with each other. It only
// grows.
type phase int

const (
	keeping   phase = iota // the keeper keeps the run
	lost                   // somebody has killed the keeper
	leftAlone              // it has been told to let the run go
	dismissed              // it may end: what it has to say is of no interest any more
	buried                 // it has been waited for
)

// advance moves on to the phase, if that is a later one, and returns the one
// before.
func (k *containment) advance(to phase) (from phase) {
	k.mu.Lock()
	defer k.mu.Unlock()
	from = k.phase
	k.phase = max(from, to)
	return from
}

func (k *containment) currentPhase() phase {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.phase
}

// namespace is what has to be done differently for a PID namespace.
type namespace struct {
	unshare func(*syscall.SysProcAttr)
	// translate returns who a child of the keeper is outside.
	translate func(keeper int, inside proctree.ID) (proctree.ID, error)
}

// inquiry is for asking the keeper who the members are, one at a time, where
// nobody else knows.
type inquiry struct {
	sync.Mutex
	answers chan []proctree.ID
	silent  chan struct{} // closed when the keeper will say no more
}

func Open(req hold.Request) (hold.Containment, error) {
	if _, err := helper.Program(req.HelperPath); err != nil {
		return nil, err
	}
	if err := proctree.Usable(); err != nil {
		return nil, err
	}
	buryDeserted()
	if err := keeperAllowed(); err != nil {
		return nil, err
	}
	if req.Attr != nil && req.Attr.Ptrace {
		return nil, errors.New("SysProcAttr.Ptrace would make the keeper the tracer")
	}
	k := &containment{
		req: req, inquiry: inquiry{answers: make(chan []proctree.ID, 1), silent: make(chan struct{})},
		pong:  make(chan struct{}, 1),
		ended: make(chan struct{}), emptied: make(chan struct{}),
	}
	k.ctx, k.stopWatch = context.WithCancel(context.Background())
	return k, nil
}

func (k *containment) Prepare(*exec.Cmd) error { return nil }

func (k *containment) Start(cmd *exec.Cmd) (*os.Process, proctree.ID, error) {
	failed := func(err error) (*os.Process, proctree.ID, error) {
		if errors.Is(err, hold.ErrKeeperLost) {
			return nil, k.id, err
		}
		return nil, k.id, fmt.Errorf("corral: keeper containment: %w", err)
	}
	spec, files, err := k.spec(cmd)
	defer func() {
		for _, f := range k.forLeader {
			f.Close()
		}
	}()
	if err != nil {
		return nil, k.id, err
	}
	// Whoever kills the owner's group must not get the keeper. One that cannot
	// come back to the group stays in it until it has started the leader.
	attr := &syscall.SysProcAttr{Setpgid: !spec.LeaveSession || spec.StartGroup != 0}
	if k.pidns != nil {
		k.pidns.unshare(attr)
	}
	if k.proc, k.line, err = helper.Start(k.req.HelperPath, wire.KeeperRole, nil, attr); err != nil {
		return failed(err)
	}
	event, err := k.sendSpec(spec, files)
	if err == nil && event.Kind == wire.Failed {
		k.abandon(nil)
		return nil, k.id, event.Err()
	}
	if err == nil && event.Kind != wire.Started {
		err = errors.New("the keeper says what nobody has asked")
	}
	k.id = proctree.ID{PID: event.PID, Start: event.Start}
	if err == nil && k.pidns != nil {
		k.id, err = k.pidns.translate(k.proc.Pid, k.id)
	}
	if err == nil {
		k.leader, err = osproc.FindForeign(k.id.PID)
	}
	if err != nil {
		return failed(k.abandon(err))
	}
	if cmd.SysProcAttr != nil {
		setPIDFD(cmd.SysProcAttr, k.id.PID)
	}
	k.reading.Go(k.listen)
	return k.leader, k.id, nil
}

// sendSpec sends the spec and returns the first event.
func (k *containment) sendSpec(spec *wire.Spec, files []*os.File) (event wire.Event, err error) {
	_, err = k.line.Write(binary.NativeEndian.AppendUint32(nil, uint32(len(files))))
	if err == nil {
		err = helper.SendFiles(k.line, files)
	}
	if err == nil {
		_, err = k.line.Write(wire.Frame(spec))
	}
	if err == nil {
		// The leader may stop the keeper before that has said that there is a
		// leader.
		told := make(chan struct{})
		defer close(told)
		defer time.AfterFunc(firstRouse, func() { k.rouse(told, nil) }).Stop()
		// It takes a millisecond, on a machine that has one to spare.
		k.line.SetReadDeadline(time.Now().Add(time.Minute))
		err = wire.Receive(k.line, &event, wire.MaxEvent)
		k.line.SetReadDeadline(time.Time{})
	}
	if path := k.req.HelperPath; err != nil && path != "" {
		err = fmt.Errorf("%w (does HelperPath, %s, import this version of this package?)", err, path)
	}
	if err != nil {
		return event, fmt.Errorf("the keeper did not start: %w", err)
	}
	return event, nil
}

// abandon takes a start back. A leader that there may be gets SIGKILL with the
// keeper. If somebody has killed the keeper before it had told of the start, the
// error says so: only the command can have done that, which may have left others.
func (k *containment) abandon(err error) error {
	silent := errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET)
	if silent && k.awaitKeeper(answerTime) {
		if state, werr := k.proc.Wait(); werr == nil && state.Sys().(syscall.WaitStatus).Signaled() {
			err = errKeeperLostEarly
		}
	} else if k.proc.Kill(); k.awaitKeeper(stop.KillPatience) {
		k.proc.Wait()
	}
	k.line.Close()
	return err
}

var errKeeperLostEarly = fmt.Errorf("%w; it had not told of the start yet", hold.ErrKeeperLost)

// answerTime is how long a keeper may take to answer, woken up now and then.
const answerTime = 2 * time.Second

// awaitKeeper reports whether the keeper ends within that time. It does not reap
// it. The init of a PID namespace does not end before all members have.
func (k *containment) awaitKeeper(limit time.Duration) bool {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	return child.AwaitExit(ctx, k.proc) == nil
}

// say tells the keeper something. It does not wait for one that does not listen.
func (k *containment) say(what byte) error {
	k.line.SetWriteDeadline(time.Now().Add(answerTime))
	_, err := k.line.Write([]byte{what})
	return err
}

// spec is what os/exec would do, for somebody else to do.
func (k *containment) spec(cmd *exec.Cmd) (*wire.Spec, []*os.File, error) {
	s := &wire.Spec{
		Path: cmd.Path, Dir: cmd.Dir, Args: cmd.Args, Env: cmd.Environ(),
		IgnoredSignals: helper.IgnoredSignals(),
		Plan:           k.req.Plan, Keep: k.req.KeepLeftovers, Detach: k.req.Detach, IsInit: k.pidns != nil,
	}
	if len(s.Args) == 0 {
		s.Args = []string{cmd.Path}
	}
	if slices.ContainsFunc(cmd.Env, func(e string) bool { return strings.ContainsRune(e, 0) }) {
		return nil, nil, errors.New("exec: environment variable contains NUL")
	}
	s.Attr = osproc.CopyAttr(cmd.SysProcAttr)
	if !s.Detach {
		dieWithKeeper(s.Attr)
	}
	if !s.Attr.Setsid && !s.Attr.Setpgid && !s.Attr.Foreground {
		// As under os/exec, the leader is in the owner's group. The keeper starts
		// it from there, and leaves the session: with a parent in another group of
		// the session, the end of the leader could be what makes the owner's group
		// an orphaned one, which gets SIGHUP if somebody in it is stopped
		// (kill_orphaned_pgrp in the kernel's exit.c).
		s.LeaveSession = true
		if k.pidns == nil { // where the group has no number
			s.StartGroup = syscall.Getpgrp() // 0: nor here, outside of which it is
		}
	}
	files, err := k.files(cmd, s)
	return s, files, err
}

// files returns the descriptors that go to the keeper, for the leader, and says in
// s which ones they are.
func (k *containment) files(cmd *exec.Cmd, s *wire.Spec) (files []*os.File, err error) {
	for _, stream := range []any{cmd.Stdin, cmd.Stdout, cmd.Stderr} {
		f, ok := stream.(*os.File)
		if !ok || f == nil { // closed for nobody: os/exec gives the null device
			if f, err = os.OpenFile(os.DevNull, os.O_RDWR, 0); err != nil {
				return nil, err
			}
			k.forLeader = append(k.forLeader, f)
		}
		files, s.Open = append(files, f), append(s.Open, true)
	}
	for _, f := range cmd.ExtraFiles {
		s.Open = append(s.Open, f != nil)
		if f != nil {
			files = append(files, f)
		}
	}
	for _, field := range wire.AttrDescriptors(s.Attr) {
		fd, err := unix.FcntlInt(uintptr(*field), unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			return nil, os.NewSyscallError("dup", err)
		}
		f := os.NewFile(uintptr(fd), "inherited")
		k.forLeader, files = append(k.forLeader, f), append(files, f)
	}
	return files, nil
}

// watchLeader makes the keeper run again if a member has stopped it, when the
// leader has ended: nobody would get to know that.
func (k *containment) watchLeader() {
	leader, err := proctree.Open(k.id)
	switch {
	case err == nil:
		defer leader.Close()
		leader.Wait(k.ctx)
	case !errors.Is(err, proctree.ErrGone): // no descriptor to watch it with
		k.rouse(k.ended, nil)
		return
	}
	if k.ctx.Err() != nil {
		return
	}
	const patience = 5 * time.Second
	late := time.NewTimer(patience)
	defer late.Stop()
	k.rouse(k.ended, late.C)
}

// answers reports whether the keeper does.
func (k *containment) answers() bool {
	select {
	case <-k.pong: // from another time
	default:
	}
	k.wake()
	if k.say(wire.Ping) != nil {
		return false
	}
	select {
	case <-k.pong:
		return true
	case <-k.inquiry.silent:
	case <-time.After(answerTime):
	}
	return false
}

// takeOver kills the run without the keeper, which does not answer: somebody keeps
// it from that. First those that it has adopted, as long as that shows, then the
// keeper.
func (k *containment) takeOver() {
	k.tookOver.Store(true)
	if k.pidns == nil {
		reach.Signal(k.look, os.Kill)
	}
	k.proc.Kill() // in a PID namespace the kernel kills all with it
}

// rouse makes the keeper run, should a member have stopped it, until enough is
// closed. One that does not answer when it is late is given up.
func (k *containment) rouse(enough <-chan struct{}, late <-chan time.Time) {
	for pause := firstRouse; ; pause = min(2*pause, time.Second) {
		select {
		case <-time.After(pause):
			k.wake()
		case <-late:
			if !k.answers() {
				k.takeOver()
			}
		case <-enough:
			return
		case <-k.ctx.Done():
			return
		}
	}
}

const firstRouse = 50 * time.Millisecond

// listen takes in what the keeper has to say, up to its end.
func (k *containment) listen() {
	for {
		event := new(wire.Event)
		if wire.Receive(k.line, event, wire.MaxEvent) != nil || !k.takeIn(event) {
			break
		}
	}
	close(k.inquiry.silent)
	if k.currentPhase() >= dismissed || isClosed(k.emptied) { // with nothing left to keep, nothing is lost
		return
	}
	// The kernel closes the line before it gives the orphans away.
	k.proc.Kill()
	ended := k.awaitKeeper(stop.KillPatience)
	// With the init of a PID namespace the kernel has killed all: nothing is lost
	// that the owner has not meant to end.
	meant := ended && k.pidns != nil && k.tookOver.Load()
	to := lost
	if meant {
		to = keeping
	}
	switch from := k.advance(to); {
	case from >= dismissed:
	case meant:
		close(k.emptied)
		k.leaderGone()
	default:
		k.killRemaining()
	}
}

// leaderGone says that the leader has ended, if the keeper has not: its PID is
// nobody's from now on.
func (k *containment) leaderGone() {
	if !isClosed(k.ended) {
		osproc.MarkDone(k.leader)
		close(k.ended)
		k.stopWatch()
	}
}

// takeIn returns false if the event is none that a keeper tells of: nothing else
// that comes over the line is to be believed then.
func (k *containment) takeIn(event *wire.Event) bool {
	told := k.end != nil // only this goroutine writes it
	// In this order: who waits for the leader should find the run empty if it is.
	if (event.Kind == wire.Ended && event.Empty || event.Kind == wire.Empty && told) && !isClosed(k.emptied) {
		close(k.emptied)
	}
	switch event.Kind {
	case wire.Ended:
		if told {
			return true
		}
		k.mu.Lock()
		k.end = event
		k.freed = k.req.WaitForLeftovers && !event.Empty && osproc.CanMarkDone
		freed := k.freed
		k.mu.Unlock()
		if freed {
			osproc.MarkDone(k.leader)
			k.say(wire.Reap)
		}
		close(k.ended)
		k.stopWatch()
	case wire.Empty:
	case wire.LeaderUsage:
		if told {
			k.end.Rusage = event.Rusage // nobody looks at it before listen has returned
		}
	case wire.MemberList:
		select {
		case k.inquiry.answers <- event.Members:
		default: // nobody has waited for it
		}
	case wire.Pong:
		select {
		case k.pong <- struct{}{}:
		default:
		}
	default:
		return false
	}
	return true
}

// killRemaining does what can be done without the keeper: it kills the leader,
// which where there is such a thing has got SIGKILL already unless it has renounced
// it, its group if it leads one, and the members last seen.
func (k *containment) killRemaining() {
	k.mu.Lock()
	freed := k.freed
	k.mu.Unlock()
	look := func() (rows []proctree.Process, err error) {
		if !freed {
			if rows, err = proctree.BelowID(k.id); errors.Is(err, proctree.ErrGone) {
				err = nil
			}
		}
		return append(rows, live(append(k.lastSeen(), k.id))...), err
	}
	reach.Signal(look, os.Kill)
	// The leader is reaped by whoever adopts it when the keeper is gone, and its
	// PID may be another's then.
	if !freed && proctree.Same(k.id) {
		if group, err := pgroup.Open(k.id.PID); err == nil {
			group.Signal(syscall.SIGKILL)
			group.Close()
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), stop.KillPatience)
	defer cancel()
	if pgroup.Drain(ctx, look) == nil {
		close(k.emptied)
	}
	k.leaderGone()
}

// live returns those of the processes that are alive.
func live(ids []proctree.ID) (rows []proctree.Process) {
	for _, id := range ids {
		if row, ok := proctree.Live(id); ok {
			rows = append(rows, row)
		}
	}
	return rows
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

func (k *containment) lastSeen() []proctree.ID {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.Clone(k.lastMembers)
}

func (k *containment) Exited(ctx context.Context) (pinned bool, err error) {
	soon := time.NewTimer(firstRouse) // most that end soon need no more
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

// ask asks the keeper for the members. There are none if it is gone.
func (k *containment) ask() ([]proctree.Process, error) {
	// A member may have stopped the keeper, and may be at it all the time.
	const patience = 2 * time.Second
	k.inquiry.Lock()
	defer k.inquiry.Unlock()
	select {
	case <-k.inquiry.answers: // too late for whoever asked
	default:
	}
	k.wake()
	k.say(wire.AskMembers) // if it cannot be asked, it is silent, too
	var members []proctree.ID
	select {
	case members = <-k.inquiry.answers:
	case <-k.inquiry.silent:
		return nil, nil
	case <-time.After(patience):
		return nil, errors.New("the keeper does not answer")
	}
	return live(members), nil
}

// look returns the members there are. Zombies and the keeper are none.
func (k *containment) look() ([]proctree.Process, error) {
	if isClosed(k.emptied) {
		return nil, nil
	}
	rows, err := k.adopted()
	if err != nil {
		return nil, err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.phase == lost {
		// Those who were the keeper's are not seen any more.
		return append(rows, live(append(k.lastMembers, k.id))...), nil
	}
	k.lastMembers = k.lastMembers[:0]
	for _, row := range rows {
		k.lastMembers = append(k.lastMembers, row.ID)
	}
	return rows, nil
}

func (k *containment) Members() ([]proctree.Process, error) {
	return reach.Look(func() ([]proctree.Process, bool, error) {
		rows, err := k.look()
		return rows, isClosed(k.emptied) || k.currentPhase() == lost, err
	})
}

func (k *containment) Facts() hold.Facts {
	f := hold.Facts{Adopts: true, Lost: k.currentPhase() == lost, BestEffort: bestEffort}
	if k.proc != nil {
		f.HelperPID = k.proc.Pid
	}
	return f
}

// Signal has the keeper do it where the owner cannot look, for want of descriptors
// most likely. Who gets them then is not known.
func (k *containment) Signal(sigs ...os.Signal) error {
	err := reach.Signal(k.look, sigs...)
	if err == nil || errors.Is(err, os.ErrProcessDone) || errors.Is(err, os.ErrPermission) {
		return err
	}
	k.wake()
	for _, sig := range sigs {
		number, ok := sig.(syscall.Signal)
		if !ok || number <= 0 || number >= wire.SignalBase || k.say(wire.SignalBase+byte(number)) != nil {
			return err
		}
	}
	return nil
}

func (k *containment) Kill() error {
	k.wake()
	k.killed.Store(true)
	if err := k.say(wire.Kill); err != nil && !isClosed(k.emptied) {
		return reach.Signal(k.look, os.Kill)
	}
	return nil
}

// wake makes a keeper run that a member has stopped.
func (k *containment) wake() { k.proc.Signal(syscall.SIGCONT) }

// Empty takes over a run that has been killed if the keeper does not answer.
func (k *containment) Empty(ctx context.Context) error {
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
			if late = nil; !k.answers() {
				k.takeOver()
			}
		}
	}
}

func (k *containment) Reap() (*os.ProcessState, error) {
	from := k.advance(buried)
	k.mu.Lock()
	end := k.end
	k.mu.Unlock()
	osproc.MarkDone(k.leader) // as long as the keeper holds its PID
	k.stopWatch()
	var keeper *os.ProcessState
	var err error
	if k.dismiss() {
		keeper, err = k.proc.Wait()
	} else {
		// It is the init of a PID namespace in which somebody cannot be killed.
		err = fmt.Errorf("corral: the keeper, process %d, cannot be made to end", k.proc.Pid)
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
	if from == lost {
		err = errjoin.Join(err, hold.ErrKeeperLost)
	}
	return state, err
}

// dismiss has the keeper end, and reports whether it does.
func (k *containment) dismiss() bool {
	k.say(wire.Finish)
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

// LetGo has the keeper do nothing any more but wait for the leader, with which it
// ends: a leader dies with its keeper.
func (k *containment) LetGo() error {
	k.wake()
	if err := k.say(wire.LetGo); err != nil {
		return fmt.Errorf("corral: the keeper cannot be told to let the run go: %w", err)
	}
	k.advance(leftAlone)
	return nil
}

// Close leaves a keeper that still has members to it: it kills them as soon as it
// can. One whose leader has ended, and that nobody has waited for, ends.
func (k *containment) Close() error {
	k.stopWatch()
	switch from := k.advance(dismissed); {
	case k.line == nil:
		return nil
	case from == leftAlone:
		buryLater(k.proc)
	case from < buried && isClosed(k.ended):
		k.Reap()
	}
	return k.line.Close()
}

// deserted are keepers of runs that have been let go. They end with the leader, and
// become zombies of the owner, which has no goroutine for them: the next run buries
// them.
var deserted struct {
	sync.Mutex
	keepers []proctree.ID
}

func buryLater(keeper *os.Process) {
	id, err := proctree.Identify(keeper.Pid)
	if err == nil {
		deserted.Lock()
		deserted.keepers = append(deserted.keepers, id)
		deserted.Unlock()
	}
	if osproc.HasHandle(keeper) {
		keeper.Release() // for its pidfd
	}
}

func buryDeserted() {
	deserted.Lock()
	defer deserted.Unlock()
	deserted.keepers = slices.DeleteFunc(deserted.keepers, func(id proctree.ID) bool {
		if !proctree.Same(id) {
			return true // somebody else has
		}
		pid, err := syscall.Wait4(id.PID, nil, syscall.WNOHANG, nil)
		return pid == id.PID || err == syscall.ECHILD
	})
}
