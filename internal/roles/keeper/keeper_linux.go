package keeper

import (
	"context"
	"errors"
	"os"
	"slices"
	"syscall"
	"time"

	"github.com/corral-run/corral/internal/child"
	"github.com/corral-run/corral/internal/helper"
	"github.com/corral-run/corral/internal/kept"
	"github.com/corral-run/corral/internal/proctree"
	"github.com/corral-run/corral/internal/reach"
	"github.com/corral-run/corral/internal/stop"
	"github.com/corral-run/corral/internal/wire"
	"github.com/corral-run/corral/internal/wire/code"
	"golang.org/x/sys/unix"
)

// On Linux the keeper is a subreaper (prctl(2), PR_SET_CHILD_SUBREAPER): a member
// whose parent ends becomes its child, whatever session or group it has fled to. So
// when the keeper has no children, nothing is left.

type keeper struct {
	keeperState
	spared kept.Set // those that it has let go of
	// Those that have got SIGKILL: children, by PID, and those further down.
	killedChildren map[int]bool
	sparedChildren map[int]bool // those that have been let go of
	endedChildren  map[int]bool // those that sweepAround has seen to have ended
	begun          []byte       // what has been read of a request to let go of one
	killed         map[proctree.ID]bool
	looked         time.Time     // when a look further down was taken, or the killing began
	most           int           // children at a time since then
	busy           time.Duration // how long the last sweep has taken
	hurried        bool

	children proctree.MainThreadChildren
	init     bool // of a PID namespace, in which everybody else is a member

	fds   [3]unix.PollFd
	quiet time.Duration // the last pause, if nothing has happened in it
}

func (k *keeper) becomeReaper(spec *wire.Spec) error {
	k.killedChildren, k.killed = make(map[int]bool), make(map[proctree.ID]bool)
	k.sparedChildren, k.endedChildren = make(map[int]bool), make(map[int]bool)
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil && !spec.IsInit { // which gets orphans anyway
		return os.NewSyscallError("prctl PR_SET_CHILD_SUBREAPER", err)
	}
	if spec.IsInit {
		if os.Getpid() != 1 {
			return errors.New("the keeper is not the init of a PID namespace")
		}
		k.init = true
		if err := mountProc(); err != nil {
			return err
		}
	}
	// What is read later is opened now: a member may cover /proc, or use up all
	// descriptors.
	if err := proctree.KeepOpen(); err != nil {
		return err
	}
	_, err := k.children.List()
	return err
}

// mapped reports whether the leader's parent has to map its ids.
func mapped(attr *syscall.SysProcAttr) bool {
	return len(attr.UidMappings) > 0 || len(attr.GidMappings) > 0
}

// What wakes a keeper up, by its place in keeper.fds.
const (
	fdLine   = iota // the owner has said something, or is gone
	fdOwner         // the owner is gone
	fdLeader        // the leader has ended
)

// serve runs on the main thread, and has no other goroutine and no signal handling.
// To set those up would take as long as a short command lives.
func (k *keeper) serve(spec *wire.Spec) {
	pidfd, err := unix.PidfdOpen(k.leader.PID, 0)
	if err != nil {
		pidfd = -1
	}
	k.fds = [3]unix.PollFd{
		fdLine:   {Fd: 0, Events: unix.POLLIN},
		fdOwner:  {Fd: int32(k.owner.PidFD), Events: unix.POLLIN},
		fdLeader: {Fd: int32(pidfd), Events: unix.POLLIN},
	}
	for k.tend(); k.fds[fdLine].Fd >= 0; {
		k.wait(-1)
	}
	for k.letGo && !k.mayLeave(k.init) {
		k.wait(-1)
	}
	if !k.mayLeave(k.init) {
		stop.NewQuiet(ownRun{k}, spec.Plan, k.leader.PID).Run()
		k.bury()
	}
	k.end()
}

// wait waits for something to happen, for at most limit unless that is negative,
// and tends to it.
//
// SIGCHLD interrupts poll(2): the kernel gives it to the main thread, which this
// is, whenever it can (complete_signal in its kernel/signal.c). It may come a
// moment before the call. So another look follows soon after each event, and then
// after pauses that double: an end at such a moment is noticed after twice the time
// that has passed. A pidfd tells of the leader's end. Before that nobody asks
// whether the run is empty, so one more look is enough, to reap orphans.
func (k *keeper) wait(limit time.Duration) {
	const shortest, longest = time.Millisecond, time.Second
	pause := max(shortest, 2*k.quiet)
	switch {
	case k.more:
		k.hurry()
		pause = 0
	case k.empty:
		pause = -1
	case k.killing:
		pause = min(pause, longest) // a child of one that may not be killed is adopted without an event
	case k.ended == nil && k.fds[fdLeader].Fd >= 0:
		if pause = longest; k.quiet >= longest {
			pause = -1
		}
	}
	if limit >= 0 && (pause < 0 || limit < pause) {
		pause = limit
	}
	if k.empty {
		k.bury() // those that sweep has left
	}
	switch happened := k.await(pause); {
	case happened:
		k.quiet = 0
		k.rest()
	case !k.more:
		k.quiet, k.stalled = pause, k.killing && pause >= 16*shortest
	}
	k.tend()
	if k.ended != nil && k.fds[fdLeader].Fd >= 0 {
		unix.Close(int(k.fds[fdLeader].Fd))
		k.fds[fdLeader].Fd = -1
	}
}

// rest waits a moment, after one child that has been killed has ended, for others to
// end: a sweep goes through all of them, and the end of each would be a reason for
// one. So sweeps take a fifth of the time at most.
func (k *keeper) rest() {
	const short, longest = 20 * time.Microsecond, 5 * time.Millisecond
	if !k.killing || k.empty || k.more || k.busy < short {
		return
	}
	pause := unix.NsecToTimespec(int64(min(4*k.busy, longest)))
	var blocked unix.Sigset_t
	blocked.Val[0] = 1 << (unix.SIGCHLD - 1)
	unix.Ppoll(nil, &pause, &blocked)
}

// await waits for something to happen, without a bound if limit is negative, and
// does what the owner says.
func (k *keeper) await(limit time.Duration) (happened bool) {
	var timeout *unix.Timespec
	if limit >= 0 {
		t := unix.NsecToTimespec(int64(limit))
		timeout = &t
	}
	n, err := unix.Ppoll(k.fds[:], timeout, nil)
	if err != nil && err != unix.EINTR {
		return k.awaitLine(limit)
	}
	if n > 0 && k.fds[fdLine].Revents != 0 {
		k.listen()
	}
	if n > 0 && k.fds[fdOwner].Revents != 0 {
		k.orphaned()
	}
	return n > 0 || err == unix.EINTR
}

// awaitLine is await where poll(2) fails: see helper.PeekLine.
func (k *keeper) awaitLine(limit time.Duration) (happened bool) {
	const longest = 250 * time.Millisecond
	if limit < 0 || limit > longest {
		limit = longest
	}
	if k.fds[fdLine].Fd < 0 {
		time.Sleep(limit)
		return false
	}
	ready, eof := helper.PeekLine(0, limit)
	switch {
	case eof, k.owner.Gone():
		k.orphaned()
	case ready:
		k.listen()
	}
	return ready || eof
}

// listen reads one request of the owner and obeys it, or a part of one.
func (k *keeper) listen() {
	if len(k.begun) > 0 {
		k.hear()
		return
	}
	var request [1]byte
	switch n, err := unix.Read(0, request[:]); {
	case n == 1 && request[0] == code.Spare && k.spares:
		k.begun = append(k.begun, code.Spare)
		k.hear()
	case n == 1:
		k.obey(request[0])
	case err != unix.EINTR:
		k.orphaned()
	}
}

// orphaned stops listening: the owner is gone. Of the requests that it left unread
// only LetGo and Spare still count.
func (k *keeper) orphaned() {
	var said [64]byte
	unread := k.begun
	for {
		n, _, err := unix.Recvfrom(0, said[:], unix.MSG_DONTWAIT)
		if n <= 0 && err != unix.EINTR {
			break
		}
		unread = append(unread, said[:max(0, n)]...)
	}
	k.heed(unread)
	k.fds[fdLine].Fd, k.fds[fdOwner].Fd = -1, -1
	helper.LiftFileLimit()
}

// ownRun is the run as a stop.Stopper in the keeper sees it.
type ownRun struct{ k *keeper }

func (b ownRun) Signal(sigs ...os.Signal) error {
	return reach.SignalFrom(nil, 0, func(known []proctree.Process) ([]proctree.Process, error) {
		b.k.bury()
		rows, err := proctree.MoreBelowMainThread(os.Getpid(), known)
		if err == nil {
			b.k.spared.Prune(rows)
		}
		return b.k.spared.Members(rows), err
	}, sigs...)
}

func (b ownRun) Members() ([]proctree.Process, error) { return b.k.members() }

func (b ownRun) Kill() error {
	b.k.killing = true
	return nil
}

func (b ownRun) AwaitEmpty(ctx context.Context) error {
	deadline, _ := ctx.Deadline()
	for b.k.tend(); !b.k.empty; {
		left := time.Until(deadline)
		if left <= 0 {
			return context.DeadlineExceeded
		}
		b.k.wait(left)
	}
	return nil
}

// passesAtATime is how often a sweep goes through the children before the keeper
// reads the line again.
const passesAtATime = 8

// sweep reaps, kills if k.killing, and returns 0 if no member is left besides an
// ended leader, else more.
//
// A process that forks and ends all the time is gone before its identity has been
// looked up. Children of this process need no such look: they keep their PIDs until
// this process reaps them. So sweep kills its children, then those that it adopts
// from them, which is mostly all it takes. Only if these do not end, or that takes
// long, it looks further down.
func (k *keeper) sweep() int {
	if k.killing && k.init {
		k.killNamespace()
	}
	if !k.spared.Empty() {
		return k.sweepAround()
	}
	began := time.Now()
	k.busy = 0
	for range passesAtATime {
		// This is the test for empty. Asked for anything but an end, the kernel
		// says ECHILD if no child is left but zombies (wait_consider_task in its
		// kernel/exit.c).
		err := unix.Waitid(unix.P_ALL, 0, nil, unix.WSTOPPED|unix.WNOHANG|unix.WNOWAIT|unix.WALL, nil)
		if err == unix.ECHILD {
			return 0
		}
		pids, err := k.children.List()
		if err != nil {
			return 1 // as far as is known
		}
		left := k.killChildren(pids)
		if left == 0 {
			return 1 // the kernel has said that somebody is left
		}
		reaped := k.reapThese(pids)
		switch {
		case reaped >= reapedAtATime && !k.killing:
			k.more = true
			return 1
		case reaped > 0:
			continue // their children are this process's by now, and are not in the list
		case !k.killing || !k.stalled && !k.late(left):
			k.busy = time.Since(began)
			return left
		}
		k.hurry()
		k.stalled = false
		k.bury()
		rows, err := proctree.WalkMainThread(os.Getpid())
		if err != nil {
			return 1
		}
		k.looked, k.most = time.Now(), 0
		// A look through /proc may come up empty while members fork and end. The
		// kernel has said that somebody is left.
		if !k.killAll(rows) {
			return max(1, len(rows))
		}
	}
	k.more = true
	return 1
}

// killChildren kills those of the children that have not been killed yet, if
// k.killing. It returns how many there are, apart from an ended leader.
func (k *keeper) killChildren(pids []int) (left int) {
	for _, pid := range slices.Backward(pids) { // the latest are most likely alive
		switch {
		case pid == k.leader.PID && k.ended != nil:
			delete(k.killedChildren, pid) // the PID may become another process's
			continue
		case k.killing && pid > 1 && !k.killedChildren[pid]:
			unix.Kill(pid, unix.SIGKILL) // if it is not ours to kill, so be it
			k.killedChildren[pid] = true
		}
		left++
	}
	return left
}

// reapThese reaps those of the children that have ended, except the leader, and
// returns how many there were. While it kills, that can wait: it takes as long as to
// kill them, and they are in nobody's way as long as they are not too many. Else it
// reaps only so many that the owner is not kept waiting.
func (k *keeper) reapThese(pids []int) (reaped int) {
	const many = 1000
	if k.killing && len(pids) <= many {
		return 0
	}
	for _, pid := range pids {
		if !k.killing && reaped >= reapedAtATime {
			break
		}
		if pid != k.leader.PID && k.reap(pid) {
			reaped++
		}
	}
	return reaped
}

// late reports whether the killing takes longer than it should have, by the number
// of children.
func (k *keeper) late(children int) bool {
	const patience, each = 100 * time.Millisecond, 50 * time.Microsecond
	if k.looked.IsZero() {
		k.looked = time.Now()
	}
	k.most = max(k.most, children)
	return time.Since(k.looked) > patience+time.Duration(k.most)*each
}

// hurry gives this process priority over members that it cannot keep up with.
func (k *keeper) hurry() {
	if !k.hurried {
		k.hurried = true
		helper.Hurry()
	}
}

// lastKill kills whoever is left, and waits for their end, but not for long.
func (k *keeper) lastKill() {
	const patience = time.Second
	k.killing = true
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	ownRun{k}.AwaitEmpty(ctx)
	k.bury()
}

// bury reaps the children that have ended, except the leader: so looks need not
// pass over them, and they do not fill the process table while the keeper is busy.
func (k *keeper) bury() {
	pids, _ := k.children.List()
	for _, pid := range pids {
		if pid != k.leader.PID {
			k.reap(pid)
		}
	}
}

// reap reaps a child if it has ended, and forgets its PID, which a later child may
// get.
func (k *keeper) reap(pid int) bool {
	if !child.Reap(pid) {
		return false
	}
	delete(k.killedChildren, pid)
	delete(k.sparedChildren, pid)
	delete(k.endedChildren, pid)
	return true
}

// killAll kills those that have not been killed yet, and reports whether there were
// any.
func (k *keeper) killAll(rows []proctree.Process) (fresh bool) {
	for _, row := range rows {
		if !k.killed[row.ID] {
			k.killed[row.ID], fresh = true, true
			reach.SignalProcess(row.ID, os.Kill) // if it is gone or not ours to kill, so be it
		}
	}
	return fresh
}
