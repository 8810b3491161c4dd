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

	ended   chan struct{} // closed when the leader has ended, or the keeper
	emptied chan struct{} // closed when no known member is left
	reading sync.WaitGroup

	mu          sync.Mutex
	phase       phase
	end         *wire.Event
	freed       bool          // the leader's PID is free, or another process's
	lastMembers []proctree.ID // as last seen
}

// phase is how far owner and keeper have come. It only grows.
type phase int

const (
	keeping   phase = iota // the keeper keeps the run
	lost                   // somebody has killed the keeper
	leftAlone              // it has been told to let the run go
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

// namespace is what a PID namespace needs done differently.
type namespace struct {
	unshare func(*syscall.SysProcAttr)
	// translate returns the identity outside of a child of the keeper.
	translate func(keeper int, inside proctree.ID) (proctree.ID, error)
}

// inquiry is the one question at a time that asks the keeper who the members are,
// where only it knows.
type inquiry struct {
	sync.Mutex
	answers chan []proctree.ID
	silent  chan struct{} // closed when the keeper will say nothing more
}

// Open returns a containment for one run. The keeper starts with the leader.
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
	// A kill of the owner's group must not reach the keeper. A keeper that could
	// not come back to the group stays in it until it has started the leader.
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
		err = errors.New("the keeper sent an event that does not belong here")
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
		// The leader may stop the keeper before it has reported the start.
		told := make(chan struct{})
		defer close(told)
		defer time.AfterFunc(firstRouse, func() { k.rouse(told, nil) }).Stop()
		// A start takes a millisecond on an idle machine.
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

// abandon takes a start back. If there is a leader, it gets SIGKILL with the
// keeper. If somebody killed the keeper before it reported the start, the error
// says so: only the command can have done that, and it may have left others.
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

var errKeeperLostEarly = fmt.Errorf("%w; it had not reported the start yet", hold.ErrKeeperLost)

// answerTime is how long a keeper may take to answer. It is woken up meanwhile.
const answerTime = 2 * time.Second

// awaitKeeper reports whether the keeper ends within the limit. It does not reap
// it. The init of a PID namespace ends only after all members.
func (k *containment) awaitKeeper(limit time.Duration) bool {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	return child.AwaitExit(ctx, k.proc) == nil
}

// say sends the keeper a request. It does not wait for a keeper that does not read.
func (k *containment) say(what byte) error {
	k.line.SetWriteDeadline(time.Now().Add(answerTime))
	_, err := k.line.Write([]byte{what})
	return err
}

// spec describes what os/exec would do, for the keeper to do.
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
		// it from there and leaves the session. If its parent were in another group
		// of the session, the leader's end could make the owner's group an orphaned
		// one, which gets SIGHUP if one of its processes is stopped
		// (kill_orphaned_pgrp in the kernel's exit.c).
		s.LeaveSession = true
		if k.pidns == nil { // where the group has no number
			s.StartGroup = syscall.Getpgrp() // 0: nor here, outside of which it is
		}
	}
	files, err := k.files(cmd, s)
	return s, files, err
}

// files returns the files that the keeper passes to the leader, and says in s which
// ones they are.
func (k *containment) files(cmd *exec.Cmd, s *wire.Spec) (files []*os.File, err error) {
	for _, stream := range []any{cmd.Stdin, cmd.Stdout, cmd.Stderr} {
		f, ok := stream.(*os.File)
		if !ok || f == nil { // os/exec passes the null device
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

// watchLeader waits for the leader's end and then wakes the keeper, which a member
// may have stopped: nobody would hear of the end otherwise.
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

// answers reports whether the keeper answers a ping.
func (k *containment) answers() bool {
	select {
	case <-k.pong: // left from an earlier ping
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

// takeOver kills the run in place of a keeper that does not answer, as somebody
// keeps it from that. First it kills those that the keeper has adopted, while that
// still shows, then the keeper.
func (k *containment) takeOver() {
	k.tookOver.Store(true)
	if k.pidns == nil {
		reach.Signal(k.look, os.Kill)
	}
	k.proc.Kill() // in a PID namespace the kernel kills all with it
}

// rouse wakes the keeper again and again, as a member may stop it, until enough is
// closed. When late fires, it takes over from a keeper that does not answer.
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

// firstRouse is how long a keeper has before it is first woken up.
const firstRouse = 50 * time.Millisecond

// listen takes in what the keeper says until it ends.
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
	// With the init of a PID namespace the kernel has killed all members: nothing
	// is lost that the owner did not mean to kill.
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

// leaderGone records that the leader has ended, if the keeper has not said so: from
// now on its PID is free.
func (k *containment) leaderGone() {
	if !isClosed(k.ended) {
		osproc.MarkDone(k.leader)
		close(k.ended)
		k.stopWatch()
	}
}

// takeIn takes in one event. It returns false if no keeper sends such an event:
// then nothing else that comes over the line is to be believed.
func (k *containment) takeIn(event *wire.Event) bool {
	told := k.end != nil // only this goroutine writes it
	// emptied comes first: whoever waits for the leader should find the run empty
	// if it is.
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
			k.end.Rusage = event.Rusage // nobody reads it before listen has returned
		}
	case wire.MemberList:
		select {
		case k.inquiry.answers <- event.Members:
		default: // nobody waits for it any more
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

// killRemaining does what can be done without the keeper. It kills the leader, its
// group if it leads one, and the members last seen. Where there is a parent-death
// signal, the leader has already got SIGKILL, unless it has renounced that.
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
	// Whoever adopts the leader when the keeper is gone reaps it. Then its PID may
	// be another process's.
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

// lastSeen returns the members last seen.
func (k *containment) lastSeen() []proctree.ID {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.Clone(k.lastMembers)
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

// ask asks the keeper for the members. It returns none if the keeper is gone.
func (k *containment) ask() ([]proctree.Process, error) {
	// A member may have stopped the keeper, and may do so again and again.
	const patience = 2 * time.Second
	k.inquiry.Lock()
	defer k.inquiry.Unlock()
	select {
	case <-k.inquiry.answers: // came too late for whoever asked
	default:
	}
	k.wake()
	k.say(wire.AskMembers) // a keeper that cannot be asked does not answer either
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

// look returns the live members, without the keeper.
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
		// Those that the keeper had adopted are not seen any more.
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

// Signal has the keeper send the signals where the owner cannot list the members,
// most likely for want of descriptors. Then nobody knows whom they reach.
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

// wake continues a keeper that a member has stopped.
func (k *containment) wake() { k.proc.Signal(syscall.SIGCONT) }

// Empty also takes over a killed run from a keeper that does not answer.
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
	if from == lost {
		err = errjoin.Join(err, hold.ErrKeeperLost)
	}
	return state, err
}

// dismiss tells the keeper to end, and reports whether it does.
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

// LetGo tells the keeper to do nothing but wait for the leader and end with it: a
// leader dies with its keeper.
func (k *containment) LetGo() error {
	k.wake()
	if err := k.say(wire.LetGo); err != nil {
		return fmt.Errorf("corral: cannot tell the keeper to let the run go: %w", err)
	}
	k.advance(leftAlone)
	return nil
}

// Close leaves members that are still there to the keeper, which kills them as soon
// as it can. A keeper whose leader has ended unreaped is reaped with it.
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

// deserted are the keepers of runs that have been let go. They end with their
// leaders and become zombies of the owner, which has no goroutine for them. The
// next run reaps them.
var deserted struct {
	sync.Mutex
	keepers []proctree.ID
}

// buryLater leaves a keeper for the next run to reap.
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

// buryDeserted reaps the deserted keepers that have ended.
func buryDeserted() {
	deserted.Lock()
	defer deserted.Unlock()
	deserted.keepers = slices.DeleteFunc(deserted.keepers, func(id proctree.ID) bool {
		if !proctree.Same(id) {
			return true // somebody else has reaped it
		}
		pid, err := syscall.Wait4(id.PID, nil, syscall.WNOHANG, nil)
		return pid == id.PID || err == syscall.ECHILD
	})
}
