package keeper

import (
	"bytes"
	"context"
	"errors"
	"os"
	"slices"
	"syscall"
	"time"

	"github.com/corral-run/corral/internal/child"
	"github.com/corral-run/corral/internal/helper"
	"github.com/corral-run/corral/internal/proctree"
	"github.com/corral-run/corral/internal/reach"
	"github.com/corral-run/corral/internal/stop"
	"github.com/corral-run/corral/internal/wire"
	"golang.org/x/sys/unix"
)

// On Linux the keeper is a subreaper (prctl(2), PR_SET_CHILD_SUBREAPER): a
// member whose parent ends becomes its child, whatever session or group it has
// fled to, so that nothing is left when the keeper has no children.

type keeper struct {
	keeperState
	// Those that need no other signal: children, by PID, and whoever is below.
	killedChildren map[int]bool
	killed         map[proctree.ID]bool
	generations    int // of children that have been killed
	hurried        bool

	children proctree.MainThreadChildren
	init     bool // of a PID namespace, so that whoever else is in there is a member

	fds   [3]unix.PollFd
	quiet time.Duration // the last pause, if nothing has happened in it
}

func (k *keeper) becomeReaper(spec *wire.Spec) error {
	k.killedChildren, k.killed = make(map[int]bool), make(map[proctree.ID]bool)
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
	// What is read later is opened now: a member may cover /proc, or see to it that
	// there are no descriptors to be had.
	if err := proctree.KeepOpen(); err != nil {
		return err
	}
	_, err := k.children.List()
	return err
}

// mapped reports whether the leader's ids are to be mapped by its parent.
func mapped(attr *syscall.SysProcAttr) bool {
	return len(attr.UidMappings) > 0 || len(attr.GidMappings) > 0
}

// What wakes a keeper up, by their places in keeper.fds.
const (
	fdLine   = iota // the owner has said something, or is gone
	fdOwner         // the owner is gone
	fdLeader        // the leader has ended
)

// serve has no goroutine beside this one, on the main thread, and no signal
// handling: with all that they need they take as long to get going as a short
// command lives.
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
	}
	k.end()
}

// wait waits for something to happen, at most that long if it is not negative,
// and sees to it.
//
// SIGCHLD interrupts poll(2): the kernel gives it to the main thread, which this
// is, whenever it can (complete_signal in its kernel/signal.c). It may come a
// moment before the call. So there is another look soon after each event, and then
// after pauses that double: whoever has ended at that moment is noticed after twice
// the time. Of the leader's end its pidfd tells: as long as nobody waits for
// others, one look is enough, for orphans that have ended.
func (k *keeper) wait(limit time.Duration) {
	const shortest, longest = time.Millisecond, time.Second
	pause := max(shortest, 2*k.quiet)
	switch {
	case k.more:
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
	switch happened := k.await(pause); {
	case happened:
		k.quiet = 0
	case !k.more:
		k.quiet, k.stalled = pause, k.killing && pause >= 16*shortest
	}
	k.tend()
	if k.ended != nil && k.fds[fdLeader].Fd >= 0 {
		unix.Close(int(k.fds[fdLeader].Fd))
		k.fds[fdLeader].Fd = -1
	}
}

// await waits for something to happen, without end if the limit is negative, and
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

// awaitLine is await where there is no poll(2): see peekLine.
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

// listen does what the owner says.
func (k *keeper) listen() {
	var request [1]byte
	switch n, err := unix.Read(0, request[:]); {
	case n == 1:
		k.obey(request[0])
	case err != unix.EINTR:
		k.orphaned()
	}
}

// orphaned: nobody has anything to say any more. What has been said is of interest
// only if it outlives the owner.
func (k *keeper) orphaned() {
	var said [64]byte
	for {
		n, _, err := unix.Recvfrom(0, said[:], unix.MSG_DONTWAIT)
		if k.letGo = k.letGo || n > 0 && bytes.IndexByte(said[:n], wire.LetGo) >= 0; n <= 0 && err != unix.EINTR {
			break
		}
	}
	k.fds[fdLine].Fd, k.fds[fdOwner].Fd = -1, -1
	helper.LiftFileLimit()
}

// ownRun is the run as a stopper in the keeper's process sees it.
type ownRun struct{ k *keeper }

func (b ownRun) Signal(sigs ...os.Signal) error       { return reach.Signal(b.k.members, sigs...) }
func (b ownRun) Members() ([]proctree.Process, error) { return b.k.members() }

func (b ownRun) Kill() error {
	b.k.killing = true
	return nil
}

func (b ownRun) Empty(ctx context.Context) error {
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

// passesAtATime is how often a look goes through the children before it sees to the
// line again.
const passesAtATime = 8

// sweep returns how many members are left, the leader aside if it has ended, and
// kills them if that is what is to be done.
//
// A child that ends all the time after it has forked is gone when its identity
// has been looked up. Children of this process can do without: their PIDs are
// theirs until they are reaped, here. So these are killed, then those that come
// from them, which is all it takes mostly. Only if they do not end, or there is no
// end of them, those further down are looked for.
func (k *keeper) sweep() int {
	if k.killing && k.init {
		k.killNamespace()
	}
	for range passesAtATime {
		// Asked for what is no end, the kernel says ECHILD if there are only
		// zombies (wait_consider_task in its kernel/exit.c).
		err := unix.Waitid(unix.P_ALL, 0, nil, unix.WSTOPPED|unix.WNOHANG|unix.WNOWAIT|unix.WALL, nil)
		if err == unix.ECHILD {
			return 0
		}
		pids, err := k.children.List()
		if err != nil {
			return 1 // as far as we know
		}
		left, fresh, reaped := 0, false, false
		for _, pid := range slices.Backward(pids) { // those that have come last are alive, most likely
			switch {
			case pid == k.leader.PID && k.ended != nil:
				delete(k.killedChildren, pid) // the PID may become another one's
				continue
			case k.killing && pid > 1 && !k.killedChildren[pid]:
				unix.Kill(pid, unix.SIGKILL) // if it is not ours to kill, so be it
				k.killedChildren[pid], fresh = true, true
			}
			left++
		}
		if left == 0 {
			return 1 // the kernel has said that there is one
		}
		for _, pid := range pids {
			if pid != k.leader.PID && k.reap(pid) {
				reaped = true
			}
		}
		if fresh {
			k.generations++
		}
		if reaped {
			continue // its children are this process's by now, and not in the list
		}
		const few = 3 // generations of a tree, as far as they are adopted one after the other
		if !k.killing || !k.stalled && k.generations <= few {
			return left
		}
		k.stalled = false
		rows, err := k.members()
		if err != nil {
			return 1
		}
		// A look through /proc may come up empty while all is in motion. It is the
		// kernel that has said that somebody is left.
		if !k.killAll(rows) {
			return max(1, len(rows))
		}
	}
	k.hurry()
	k.more = true
	return 1
}

// hurry has the kernel prefer this process, if it may (CAP_SYS_NICE), to those that
// it cannot keep up with.
func (k *keeper) hurry() {
	if k.hurried {
		return
	}
	k.hurried = true
	const most = -20
	unix.Setpriority(unix.PRIO_PROCESS, 0, most)
	os.WriteFile("/proc/self/autogroup", []byte("-20"), 0) // of its session, where sessions are scheduled as one (sched(7))
}

// lastKill kills who is left, and waits for their end, but not for long.
func (k *keeper) lastKill() {
	const patience = time.Second
	k.killing = true
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	ownRun{k}.Empty(ctx)
}

// bury reaps the children that have ended, but for the leader, so that nobody looks
// at them, and they do not fill the table of processes while something else is
// done.
func (k *keeper) bury() {
	pids, _ := k.children.List()
	for _, pid := range pids {
		if pid != k.leader.PID {
			k.reap(pid)
		}
	}
}

// reap is reap, and forgets the PID, which may be a later child's from then on.
func (k *keeper) reap(pid int) bool {
	if !child.Reap(pid) {
		return false
	}
	delete(k.killedChildren, pid)
	return true
}

// killAll kills those that have not been killed, and reports whether there was one.
func (k *keeper) killAll(rows []proctree.Process) (fresh bool) {
	for _, row := range rows {
		if !k.killed[row.ID] {
			k.killed[row.ID], fresh = true, true
			reach.SignalProcess(row.ID, os.Kill) // if it is gone or not ours to kill, so be it
		}
	}
	return fresh
}
