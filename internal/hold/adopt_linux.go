package hold

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"github.com/corral-run/corral/internal/child"
	"github.com/corral-run/corral/internal/proctree"
	"github.com/corral-run/corral/internal/reach"
	"github.com/corral-run/corral/internal/stop"
	"golang.org/x/sys/unix"
)

// adopting is a containment together with the members that it has lost to the
// owner, which is the subreaper above it (see Cmd.AdoptOrphans).
//
// Every descendant of the owner is a member, except those that were there before
// the start and their descendants: a shell may have started others and then have
// executed the owner in its place. One of those may leave an orphan before a look
// has shown whose it was. Such an orphan cannot be told from a member.
type adopting struct {
	Containment
	leader  atomic.Int64 // its PID
	thread  atomic.Int64 // the owner's thread that started it: the parent of siblings that it clones
	started atomic.Bool  // the containment has members, and its helper runs
	killing atomic.Bool  // whatever turns up is killed
	died    chan os.Signal
	reaping sync.WaitGroup
	closing atomic.Bool

	// burying is locked by whoever reaps.
	burying  sync.Mutex
	children proctree.MainThreadChildren

	earlier map[int]proctree.ID // the children from before the start

	mu       sync.Mutex
	others   map[proctree.ID]bool // the descendants that are not members
	departed bool                 // a lost helper has been waited for
}

// CanAdopt returns why this process may not be a subreaper, or nil if it may. It
// finds out by setting the attribute to the value that it has.
func CanAdopt() error {
	var now int32
	_, _, errno := unix.RawSyscall6(unix.SYS_PRCTL, unix.PR_GET_CHILD_SUBREAPER, uintptr(unsafe.Pointer(&now)), 0, 0, 0, 0)
	if errno != 0 {
		return os.NewSyscallError("prctl PR_GET_CHILD_SUBREAPER", errno)
	}
	return os.NewSyscallError("prctl PR_SET_CHILD_SUBREAPER", unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, uintptr(now), 0, 0, 0))
}

// Adopt makes the calling process a subreaper for good. The containment that it
// returns treats every orphan that this process adopts as a member.
func Adopt(inner Containment) (Containment, error) {
	err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
	if err != nil && os.Getpid() != 1 { // which gets the orphans anyhow
		return nil, os.NewSyscallError("prctl PR_SET_CHILD_SUBREAPER", err)
	}
	a := &adopting{
		Containment: inner, died: make(chan os.Signal, 1),
		earlier: make(map[int]proctree.ID), others: make(map[proctree.ID]bool),
	}
	if err := a.recordEarlier(); err != nil {
		return nil, err
	}
	return a, nil
}

// recordEarlier records the descendants from before the start. An orphan of theirs
// may have come just now, but none of the run's. Mostly there are none: the
// children that a program had when it was executed belong to its main thread, and
// looks ask only for that thread's children, and for those of the thread that
// starts the leader.
func (a *adopting) recordEarlier() error {
	if err := unix.Waitid(unix.P_ALL, 0, nil, unix.WEXITED|unix.WSTOPPED|unix.WNOHANG|unix.WNOWAIT|unix.WALL, nil); err == unix.ECHILD {
		return nil
	}
	if first, err := a.children.List(); err != nil || len(first) == 0 {
		return err
	}
	rows, err := proctree.Below(os.Getpid())
	if err != nil {
		return err
	}
	for _, row := range rows {
		a.others[row.ID] = true
	}
	pids, err := proctree.ChildPIDs(os.Getpid())
	if err != nil {
		return err
	}
	for _, pid := range pids {
		if id, err := proctree.Identify(pid); err == nil {
			a.earlier[pid] = id
		}
	}
	return nil
}

func (a *adopting) Start(cmd *exec.Cmd) (*os.Process, proctree.ID, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	a.thread.Store(int64(unix.Gettid()))
	leader, id, err := a.Containment.Start(cmd)
	if err != nil {
		a.abandon()
		return leader, id, err
	}
	a.leader.Store(int64(id.PID))
	a.started.Store(true)
	signal.Notify(a.died, syscall.SIGCHLD)
	a.reaping.Go(func() {
		a.buryAll() // PID 1 may have got some before
		for range a.died {
			a.buryAll()
		}
	})
	return leader, id, nil
}

// abandon stops what a keeper has left that was killed before it could report its
// start.
func (a *adopting) abandon() {
	ctx, cancel := context.WithTimeout(context.Background(), stop.KillPatience)
	defer cancel()
	a.killing.Store(true)
	a.drain(ctx)
}

// burial bounds how long children are reaped at a stretch by a caller that has
// other things to do.
const burial = 100 * time.Millisecond

// buryAll reaps until nothing is left to reap, or the run is being closed.
func (a *adopting) buryAll() {
	for a.bury() && !a.closing.Load() {
	}
}

// bury reaps the orphans that have ended, of any run: PID 1 of a namespace
// also gets orphans of processes that have entered it. It reports whether there may
// be more.
func (a *adopting) bury() (more bool) {
	if !a.burying.TryLock() {
		return false // somebody else is reaping
	}
	defer a.burying.Unlock()
	enough := time.Now().Add(burial)
	// The kernel names one child that has ended. It goes on naming the leader, or
	// the helper, until that one has been reaped. Then the others are tried one by
	// one.
	for time.Now().Before(enough) {
		pid, _, _, err := child.Peek(0)
		if err == unix.EINTR {
			continue
		}
		if err != nil || pid == 0 {
			return false
		}
		if a.known(pid) || !child.Reap(pid) {
			return a.buryListed(enough)
		}
	}
	return true
}

// buryListed tries to reap every child but those that somebody else reaps.
func (a *adopting) buryListed(enough time.Time) (more bool) {
	pids, _ := a.children.List()
	pids = append(pids, a.siblings()...)
	for i, pid := range pids {
		if i%64 == 63 && time.Now().After(enough) {
			return true
		}
		if !a.known(pid) {
			child.Reap(pid)
		}
	}
	return false
}

// siblings are the children, without the guard, of the thread that has started the
// leader, if that is not the main thread.
func (a *adopting) siblings() []int {
	tid := int(a.thread.Load())
	if tid == os.Getpid() {
		return nil
	}
	pids, _ := proctree.ThreadChildPIDs(tid)
	if a.Containment.Facts().Adopts {
		return pids
	}
	helper := a.helper()
	return slices.DeleteFunc(pids, func(pid int) bool { return pid == helper })
}

// known reports whether somebody else reaps the child, or nobody may.
func (a *adopting) known(pid int) bool {
	if pid == a.helper() || int64(pid) == a.leader.Load() {
		return true
	}
	before, ok := a.earlier[pid]
	if !ok {
		return false
	}
	now, err := proctree.Identify(pid)
	return err != nil || now == before
}

// helper is the PID of the guard or the keeper, or 0.
func (a *adopting) helper() int {
	if a.started.Load() {
		return a.Containment.Facts().HelperPID
	}
	return 0
}

// helperLost reports whether the helper adopted the members and is gone.
func (a *adopting) helperLost() bool {
	f := a.Containment.Facts()
	return f.Adopts && f.Lost
}

// awaitHelper waits for the end of a helper of which only the end of its line is
// known: the kernel closes files before it gives the children away.
func (a *adopting) awaitHelper() {
	a.mu.Lock()
	departed := a.departed
	a.departed = true
	a.mu.Unlock()
	if departed {
		return
	}
	h, err := proctree.Hold(a.helper())
	if err != nil {
		return
	}
	defer h.Close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	h.Wait(ctx)
}

// strays are the descendants of the owner that are neither the helper's nor the
// containment's, and were not there before the start.
func (a *adopting) strays() ([]proctree.Process, error) {
	lost := a.helperLost()
	if lost {
		a.awaitHelper()
	}
	a.bury() // to look at a zombie takes ten times as long
	if !lost && a.alone() {
		return nil, nil
	}
	rows, err := proctree.BelowMainThread(os.Getpid(), a.siblings()...)
	if err != nil || len(rows) == 0 {
		return nil, err
	}
	helper := a.helper()
	known := make(map[proctree.ID]bool)
	if a.started.Load() {
		var held []proctree.Process
		held, err = a.Containment.Members()
		for _, p := range held {
			known[p.ID] = true
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	helped, apart := make(map[int]bool), make(map[int]bool)
	var strays []proctree.Process
	for _, row := range rows { // parents come first
		switch {
		case row.PID == helper, helped[row.PPID]:
			helped[row.PID] = !lost
		case known[row.ID]:
		case a.others[row.ID], apart[row.PPID]:
			apart[row.PID], a.others[row.ID] = true, true
		default:
			strays = append(strays, row)
		}
	}
	return a.Containment.Without(strays), err
}

// alone reports whether the owner has no children but its helper, which keeps what
// is below it, and a leader that has ended, below which there is nothing any more.
// Mostly it is so, and neither is looked at then: the kernel takes long to let a
// process go whose files in /proc have been opened, on a busy machine longer than
// the whole run.
func (a *adopting) alone() bool {
	if !a.burying.TryLock() {
		return false // somebody is reaping: there may be others
	}
	defer a.burying.Unlock()
	helper, leader := a.helper(), int(a.leader.Load())
	// The order counts. A leader that has ended has given its children away, and a
	// thread that has ended has given its own to the main thread.
	ended := isZombie(leader)
	pids := a.siblings()
	adopted, err := a.children.List()
	if err != nil {
		return false
	}
	for _, pid := range append(pids, adopted...) {
		if pid != helper && !(ended && pid == leader) {
			return false
		}
	}
	// Had one of them been reaped meanwhile, another one may have been passed over.
	return ended == isZombie(leader) && a.helper() == helper && (helper == 0 || isChild(helper))
}

// isZombie reports whether a child has ended, with all of its threads.
func isZombie(pid int) bool {
	if pid == 0 {
		return false
	}
	got, _, _, err := child.Peek(pid)
	return err == nil && got == pid
}

// isChild reports whether a child has not been reaped.
func isChild(pid int) bool {
	_, _, _, err := child.Peek(pid)
	return err == nil
}

func (a *adopting) Members() ([]proctree.Process, error) {
	held, err := a.Containment.Members()
	strays, serr := a.strays()
	return append(held, strays...), errors.Join(err, serr)
}

func (a *adopting) Signal(sigs ...os.Signal) error {
	err := a.Containment.Signal(sigs...)
	if serr := reach.Signal(a.strays, sigs...); errors.Is(err, os.ErrProcessDone) {
		err = serr
	}
	return err
}

func (a *adopting) Kill() error {
	a.killing.Store(true)
	err := a.Containment.Kill()
	if serr := reach.Signal(a.strays, os.Kill); !errors.Is(serr, os.ErrProcessDone) {
		err = errors.Join(err, serr)
	}
	return err
}

func (a *adopting) AwaitEmpty(ctx context.Context) error {
	if err := a.Containment.AwaitEmpty(ctx); err != nil {
		return err
	}
	return a.drain(ctx)
}

// drain waits until no stray is left.
func (a *adopting) drain(ctx context.Context) error {
	moving := 0
	return reach.Drain(ctx, func() ([]proctree.Process, error) {
		if a.killing.Load() {
			reach.Signal(a.strays, os.Kill)
		}
		// Once some have been seen, a look may come up empty while they fork and
		// end.
		rows, err := a.strays()
		for i := 0; i < moving && err == nil && len(rows) == 0; i++ {
			rows, err = a.strays()
		}
		if len(rows) > 0 {
			moving = 3
		}
		return rows, err
	})
}

// Reap frees the leader's PID, which an orphan may get.
func (a *adopting) Reap() (*os.ProcessState, error) {
	state, err := a.Containment.Reap()
	a.leader.Store(0)
	return state, err
}

func (a *adopting) Close() error {
	a.closing.Store(true)
	signal.Stop(a.died)
	close(a.died)
	a.reaping.Wait()
	a.bury()
	a.children.Close()
	return a.Containment.Close()
}
