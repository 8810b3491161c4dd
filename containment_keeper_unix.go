//go:build linux || darwin || freebsd

package corral

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/corral-run/corral/internal/pgroup"
	"github.com/corral-run/corral/internal/proctree"
)

// keeperContainment is the owner's side of a keeper.
type keeperContainment struct {
	req   request
	pidns *namespace // the keeper is the init of a PID namespace of its own, if not nil

	opened []*os.File  // for the leader, closed when it has them
	proc   *os.Process // the keeper
	line   *os.File
	leader *os.Process
	id     proctree.ID

	ctx       context.Context // done when there is no need any more to watch the leader
	stopWatch context.CancelFunc

	inquiry inquiry

	ended   chan struct{} // closed when the leader has, or the keeper
	emptied chan struct{} // closed when nothing is left that is known
	reading sync.WaitGroup

	mu    sync.Mutex
	end   *keeperEvent
	freed bool // the leader's PID is nobody's, or another's
	over  bool // the keeper may end
	lost  bool
	known []proctree.ID // the members last seen
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

func openKeeper(req request) (containment, error) {
	if _, err := helperSource(); err != nil {
		return nil, err
	}
	if req.attr != nil && req.attr.Ptrace {
		return nil, errors.New("SysProcAttr.Ptrace would make the keeper the tracer")
	}
	k := &keeperContainment{
		req: req, inquiry: inquiry{answers: make(chan []proctree.ID, 1), silent: make(chan struct{})},
		ended: make(chan struct{}), emptied: make(chan struct{}),
	}
	k.ctx, k.stopWatch = context.WithCancel(context.Background())
	return k, nil
}

func (k *keeperContainment) prepare(*exec.Cmd) error { return nil }

func (k *keeperContainment) start(cmd *exec.Cmd) (*os.Process, proctree.ID, error) {
	failed := func(err error) (*os.Process, proctree.ID, error) {
		return nil, k.id, fmt.Errorf("corral: keeper containment: %w", err)
	}
	spec, files, err := k.spec(cmd)
	defer func() {
		for _, f := range k.opened {
			f.Close()
		}
	}()
	if err != nil {
		return nil, k.id, err
	}
	// Whoever kills the owner's group must not get the keeper. One that cannot
	// come back to the group stays in it until it has started the leader.
	attr := &syscall.SysProcAttr{Setpgid: !spec.leaveSession || spec.group != 0}
	if k.pidns != nil {
		k.pidns.unshare(attr)
	}
	if k.proc, k.line, err = startHelper(keeperRole, nil, attr); err != nil {
		return failed(err)
	}
	event, err := k.hire(spec, files)
	if err == nil && event.kind == eventFailed {
		k.abandon()
		return nil, k.id, event.err()
	}
	k.id = proctree.ID{PID: event.pid, Start: event.start}
	if err == nil && k.pidns != nil {
		k.id, err = k.pidns.translate(k.proc.Pid, k.id)
	}
	if err == nil {
		k.leader, err = foreignProcess(k.id.PID)
	}
	if err != nil {
		k.abandon()
		return failed(err)
	}
	if cmd.SysProcAttr != nil {
		fillIn(cmd.SysProcAttr, k.id.PID)
	}
	k.reading.Go(k.listen)
	return k.leader, k.id, nil
}

// hire sends the spec and returns the first event.
func (k *keeperContainment) hire(spec *keeperSpec, files []*os.File) (event keeperEvent, err error) {
	_, err = k.line.Write(binary.NativeEndian.AppendUint32(nil, uint32(len(files))))
	if err == nil {
		err = sendFiles(k.line, files)
	}
	if err == nil {
		_, err = k.line.Write(frame(spec))
	}
	if err == nil {
		// The leader may stop the keeper before that has said that there is a leader.
		told := make(chan struct{})
		defer close(told)
		defer time.AfterFunc(firstRouse, func() { k.rouse(told) }).Stop()
		// It takes a millisecond, on a machine that has one to spare.
		k.line.SetReadDeadline(time.Now().Add(time.Minute))
		err = receive(k.line, &event)
		k.line.SetReadDeadline(time.Time{})
	}
	if err != nil {
		return event, fmt.Errorf("the keeper did not start: %w", err)
	}
	return event, nil
}

// abandon takes a start back. A leader that there may be gets SIGKILL with the
// keeper.
func (k *keeperContainment) abandon() {
	k.proc.Kill()
	k.line.Close()
	k.proc.Wait()
}

// spec is what os/exec would do, for somebody else to do.
func (k *keeperContainment) spec(cmd *exec.Cmd) (*keeperSpec, []*os.File, error) {
	s := &keeperSpec{
		path: cmd.Path, dir: cmd.Dir, args: cmd.Args, env: cmd.Environ(), sys: &syscall.SysProcAttr{},
		ignored: ignoredSignals(),
		plan:    k.req.plan, keep: k.req.keep, init: k.pidns != nil,
	}
	if len(s.args) == 0 {
		s.args = []string{cmd.Path}
	}
	if slices.ContainsFunc(cmd.Env, func(e string) bool { return strings.ContainsRune(e, 0) }) {
		return nil, nil, errors.New("exec: environment variable contains NUL")
	}
	if cmd.SysProcAttr != nil {
		*s.sys = *cmd.SysProcAttr
	}
	sys := s.sys
	dieWithKeeper(sys)
	if !sys.Setsid && !sys.Setpgid && !sys.Foreground {
		// As under os/exec, the leader is in the owner's group. The keeper starts it
		// from there, and leaves the session: with a parent in another group of the
		// session, the end of the leader could be what makes the owner's group an
		// orphaned one, which gets SIGHUP if somebody in it is stopped
		// (kill_orphaned_pgrp in the kernel's exit.c).
		s.leaveSession = true
		if k.pidns == nil { // where the group has no number
			s.group = syscall.Getpgrp() // 0: nor here, outside of which it is
		}
	}

	var files []*os.File
	std := func(stream any) error {
		f, ok := stream.(*os.File)
		if !ok || f == nil { // closed for nobody: os/exec gives the null device
			null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
			if err != nil {
				return err
			}
			k.opened = append(k.opened, null)
			f = null
		}
		files, s.open = append(files, f), append(s.open, true)
		return nil
	}
	for _, stream := range []any{cmd.Stdin, cmd.Stdout, cmd.Stderr} {
		if err := std(stream); err != nil {
			return nil, nil, err
		}
	}
	for _, f := range cmd.ExtraFiles {
		s.open = append(s.open, f != nil)
		if f != nil {
			files = append(files, f)
		}
	}
	for _, field := range descriptorsOf(sys) {
		fd, err := unix.FcntlInt(uintptr(*field), unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			return nil, nil, os.NewSyscallError("dup", err)
		}
		f := os.NewFile(uintptr(fd), "inherited")
		k.opened, files = append(k.opened, f), append(files, f)
	}
	return s, files, nil
}

// watchLeader makes the keeper run again if a member has stopped it, when the
// leader has ended: nobody would get to know that.
func (k *keeperContainment) watchLeader() {
	leader, err := proctree.Open(k.id)
	if err != nil && !errors.Is(err, proctree.ErrGone) {
		return
	}
	if err == nil {
		defer leader.Close()
		leader.Wait(k.ctx)
	}
	if k.ctx.Err() != nil {
		return
	}
	k.rouse(k.ended)
}

// rouse makes the keeper run, should a member have stopped it, until enough is
// closed.
func (k *keeperContainment) rouse(enough <-chan struct{}) {
	for pause := firstRouse; ; pause = min(2*pause, time.Second) {
		select {
		case <-time.After(pause):
			k.wake()
		case <-enough:
			return
		case <-k.ctx.Done():
			return
		}
	}
}

const firstRouse = 50 * time.Millisecond

// listen takes in what the keeper has to say, up to its end.
func (k *keeperContainment) listen() {
	for {
		event := new(keeperEvent)
		if receive(k.line, event) != nil {
			break
		}
		// In this order: who waits for the leader should find the run empty if it is.
		if event.empty || event.kind == eventEmpty {
			close(k.emptied)
		}
		switch event.kind {
		case eventEnded:
			k.mu.Lock()
			k.end = event
			k.freed = k.req.wait && !event.empty && processKnown
			freed := k.freed
			k.mu.Unlock()
			if freed {
				markDone(k.leader)
				k.line.Write([]byte{keeperReap})
			}
			close(k.ended)
			k.stopWatch()
		case eventUsed:
			k.end.rusage = event.rusage // nobody looks at it before this has returned
		case eventMembers:
			select {
			case k.inquiry.answers <- event.members:
			default: // nobody has waited for it
			}
		}
	}
	close(k.inquiry.silent)
	k.mu.Lock()
	k.lost = !k.over && !isClosed(k.emptied) // with nothing left to keep, nothing is lost
	lost := k.lost
	k.mu.Unlock()
	if lost {
		k.clean()
	}
}

// clean does what can be done without the keeper: it kills the leader, which
// where there is such a thing has got SIGKILL already unless it has renounced it,
// its group if it leads one, and the members last seen.
func (k *keeperContainment) clean() {
	k.mu.Lock()
	freed := k.freed
	k.mu.Unlock()
	look := func() (rows []proctree.Process, err error) {
		if !freed {
			rows, err = proctree.Below(k.id.PID)
		}
		for _, id := range append(k.lastSeen(), k.id) {
			if row, lookErr := proctree.Lookup(id.PID); lookErr == nil && row.ID == id && row.Alive() {
				rows = append(rows, row)
			}
		}
		return rows, err
	}
	signalEach(look, os.Kill)
	if !freed {
		if group, err := pgroup.Open(k.id.PID); err == nil {
			group.Signal(syscall.SIGKILL)
			group.Close()
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), killPatience)
	defer cancel()
	if pgroup.Drain(ctx, look) == nil {
		close(k.emptied)
	}
	if !isClosed(k.ended) {
		markDone(k.leader) // its PID is nobody's from now on
		close(k.ended)
		k.stopWatch()
	}
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

func (k *keeperContainment) lastSeen() []proctree.ID {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.Clone(k.known)
}

func (k *keeperContainment) exited(ctx context.Context) (held bool, err error) {
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
func (k *keeperContainment) ask() ([]proctree.Process, error) {
	// A member may have stopped the keeper, and may be at it all the time.
	const patience = 2 * time.Second
	k.inquiry.Lock()
	defer k.inquiry.Unlock()
	select {
	case <-k.inquiry.answers: // too late for whoever asked
	default:
	}
	k.wake()
	k.line.Write([]byte{keeperMembers}) // if it cannot be asked, it is silent, too
	var members []proctree.ID
	select {
	case members = <-k.inquiry.answers:
	case <-k.inquiry.silent:
		return nil, nil
	case <-time.After(patience):
		return nil, errors.New("the keeper does not answer")
	}
	var rows []proctree.Process
	for _, id := range members {
		if row, err := proctree.Lookup(id.PID); err == nil && row.ID == id && row.Alive() {
			rows = append(rows, row)
		}
	}
	return rows, nil
}

// look returns the members there are. Zombies and the keeper are none.
func (k *keeperContainment) look() ([]proctree.Process, error) {
	if isClosed(k.emptied) {
		return nil, nil
	}
	rows, err := k.held()
	if err != nil {
		return nil, err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.lost {
		// Those who were the keeper's are not seen any more.
		for _, id := range append(k.known, k.id) {
			if row, err := proctree.Lookup(id.PID); err == nil && row.ID == id && row.Alive() {
				rows = append(rows, row)
			}
		}
		return rows, nil
	}
	k.known = k.known[:0]
	for _, row := range rows {
		k.known = append(k.known, row.ID)
	}
	return rows, nil
}

func (k *keeperContainment) members() ([]proctree.Process, error) {
	return seen(func() ([]proctree.Process, bool, error) {
		rows, err := k.look()
		return rows, isClosed(k.emptied) || k.isLost(), err
	})
}

func (k *keeperContainment) isLost() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.lost
}

func (k *keeperContainment) signal(sigs ...os.Signal) error { return signalEach(k.look, sigs...) }

func (k *keeperContainment) kill() error {
	k.wake()
	if _, err := k.line.Write([]byte{keeperKill}); err != nil && !isClosed(k.emptied) {
		return signalEach(k.look, os.Kill)
	}
	return nil
}

// wake makes a keeper run that a member has stopped.
func (k *keeperContainment) wake() { k.proc.Signal(syscall.SIGCONT) }

func (k *keeperContainment) empty(ctx context.Context) error {
	k.wake()
	select {
	case <-k.emptied:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (k *keeperContainment) reap() (*os.ProcessState, error) {
	k.mu.Lock()
	k.over = true
	end, lost := k.end, k.lost
	k.mu.Unlock()
	markDone(k.leader) // as long as the keeper holds its PID
	k.line.Write([]byte{keeperFinish})
	k.stopWatch()
	keeper, err := k.proc.Wait()
	k.reading.Wait()
	if err != nil {
		return nil, err
	}
	state := keeper
	if end != nil {
		state = stateOf(k.id.PID, end.status, &end.rusage, keeper)
	}
	if !state.Success() {
		err = &exec.ExitError{ProcessState: state}
	}
	if lost {
		err = join(err, ErrKeeperLost)
	}
	return state, err
}

func (k *keeperContainment) close() error {
	k.stopWatch()
	if k.line == nil {
		return nil
	}
	return k.line.Close()
}
