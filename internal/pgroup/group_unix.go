//go:build unix

package pgroup

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"syscall"

	"github.com/corral-run/corral/internal/proctree"
	"github.com/corral-run/corral/internal/reach"
	"golang.org/x/sys/unix"
)

// Group is one process group. Its methods may be called concurrently.
//
// Where the kernel can (Linux 6.9 and later) and if the leader had not been
// reaped when the group was opened, a pidfd of the leader stands for the group:
// pidfd_send_signal(2) with PIDFD_SIGNAL_PROCESS_GROUP reaches this group's
// members and no others, also when the leader is gone. Everywhere else the group
// is signalled by its number, each time right after making sure that the number
// is still this group's; see verify.
type Group struct {
	pgid   int
	direct bool // the leader's pidfd signals the group

	mu     sync.Mutex
	leader *pin          // nil if the leader had been reaped before Open
	sid    int           // the group's session, where direct is false
	known  []proctree.ID // the live members last seen
	closed bool
}

// Open returns the group that has the number pgid now; close it after use.
//
// The error is proctree.ErrGone if there is no such group: no live process is in
// it and no leader that has yet to be reaped. It is a *reach.RefusedError for what
// reach.CheckID refuses, for the calling process and for its own group.
func Open(pgid int) (*Group, error) { return open(pgid, groupSignalSupported()) }

func open(pgid int, direct bool) (*Group, error) {
	if err := check(pgid); err != nil {
		return nil, err
	}
	leader, err := newPin(pgid)
	if err != nil && !errors.Is(err, proctree.ErrGone) {
		return nil, err
	}
	g := &Group{pgid: pgid, leader: leader, direct: direct && leader != nil}
	if err := g.identify(); err != nil {
		g.Close()
		return nil, err
	}
	return g, nil
}

// identify makes sure that there is a group, and notes what a later look will
// know it by.
func (g *Group) identify() error {
	if g.direct {
		return existence(g.leader.signalGroup(0))
	}
	if err := existence(syscall.Kill(-g.pgid, 0)); err != nil {
		return err
	}
	if g.leader != nil {
		// A process cannot leave the session while a group has its number
		// (setsid(2), EPERM), so its session is the group's even if it has
		// moved to another group.
		p, err := proctree.Brief(g.pgid)
		g.sid = p.SID
		if errors.Is(err, proctree.ErrGone) && g.leader.unreaped() {
			return g.membersHidden()
		}
		return err
	}
	live, err := proctree.Group(g.pgid)
	if err != nil {
		return err
	}
	if len(live) == 0 {
		return proctree.ErrGone
	}
	g.sid = live[0].SID
	g.remember(live)
	return nil
}

// check refuses what must not be signalled. It looks each time, because a
// process can join another group.
func check(pgid int) error {
	if err := reach.CheckID(pgid); err != nil {
		return err
	}
	own, err := unix.Getpgid(0)
	if err != nil {
		return os.NewSyscallError("getpgid", err)
	}
	switch pgid {
	case own:
		return &reach.RefusedError{ID: pgid, Reason: "it is the caller's own process group"}
	case syscall.Getpid():
		return &reach.RefusedError{ID: pgid, Reason: "it is the calling process"}
	}
	return nil
}

// existence turns the result of signal 0 into an answer: nil if any process,
// even a zombie, is in the group, and ErrGone if none is.
func existence(err error) error {
	switch {
	case errors.Is(err, syscall.ESRCH):
		return proctree.ErrGone
	case errors.Is(err, syscall.EPERM):
		return nil
	}
	return err
}

// NeedsLeader reports whether the group is signalled by its number. The number
// may be given to another group once the leader has been reaped and the members
// are gone, and the moment between a look and a signal cannot be closed. Whoever
// can keep the leader from being reaped should then do so until the group is no
// longer needed.
func (g *Group) NeedsLeader() bool { return !g.direct }

// Signal sends sig to every member once. The kernel walks the members in one go: a
// process that is forked meanwhile gets the signal too.
//
// The error is proctree.ErrGone if no live member is left, EPERM if the caller may
// signal none of them, and a *reach.RefusedError if the caller has joined the
// group. If the caller may signal some, the error is nil, as with kill(2). SIGCONT
// is sent without a look.
func (g *Group) Signal(sig syscall.Signal) error {
	if err := check(g.pgid); err != nil {
		return err
	}
	// The kernel would report success for zombies. If the process table cannot be
	// read, its answer is still the best there is. A look at the whole table comes
	// last: with thousands of zombies it takes long, and there may be more and more
	// of them.
	if sig != syscall.SIGCONT && !g.leaderAlive() && !g.knownAlive() {
		if empty, err := g.Empty(); err == nil && empty {
			return proctree.ErrGone
		}
	}
	return result(g.send(sig), g.Empty)
}

// Kill is Signal with SIGKILL and without a look before it. It is no error if no
// live member is left.
func (g *Group) Kill() error {
	if err := check(g.pgid); err != nil {
		return err
	}
	err := result(g.send(syscall.SIGKILL), g.Empty)
	if errors.Is(err, proctree.ErrGone) {
		return nil
	}
	return err
}

// leaderAlive reports whether the leader is a live member.
func (g *Group) leaderAlive() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed || g.leader == nil {
		return false
	}
	p, err := proctree.Brief(g.pgid)
	return err == nil && p.PGID == g.pgid && p.Alive() && g.leader.unreaped()
}

// result is what Signal returns if the system says err. EPERM may mean that all
// have ended meanwhile: macOS says so of a group of zombies, of any parent
// (killpg1 in xnu's kern_sig.c), and Linux of another user's.
func result(err error, empty func() (bool, error)) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, syscall.ESRCH):
		return proctree.ErrGone
	case errors.Is(err, syscall.EPERM):
		if none, lookErr := empty(); lookErr == nil && none {
			return proctree.ErrGone
		}
	}
	return os.NewSyscallError("kill process group", err)
}

// send sends sig to the group. The error is a plain one of the system or, if
// the number is no longer this group's, ErrGone.
func (g *Group) send(sig syscall.Signal) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return os.ErrClosed
	}
	if g.direct {
		return g.leader.signalGroup(sig)
	}
	if err := syscall.Kill(-g.pgid, 0); err == syscall.ESRCH {
		return err
	}
	if err := g.verify(); err != nil {
		return err
	}
	return syscall.Kill(-g.pgid, sig)
}

// verify returns nil if the group that has the number now is this one, and
// ErrGone if there is no such group any more. A PID is not given out anew while
// a group has it for its number, so each of these is a proof:
//
//   - the leader has not been reaped: it is the same group;
//   - the leader has been reaped, yet a process has its PID: it is another;
//   - a member seen earlier is still in it: it is the same.
//
// If all that were seen earlier have ended, but the PID is free and those in the
// group are in the session it had, they are taken for children of the members
// seen earlier. For that to be wrong, the PID must have been given out anew, and
// its holder have led a group in that session and left members behind when it
// was reaped, all since the last look.
func (g *Group) verify() error {
	if g.leader != nil && g.leader.unreaped() {
		return nil
	}
	if _, err := proctree.Brief(g.pgid); err == nil {
		return proctree.ErrGone
	} else if !errors.Is(err, proctree.ErrGone) {
		return err
	}
	for _, id := range g.known {
		if p, err := proctree.Brief(id.PID); err == nil && p.ID == id && p.PGID == g.pgid {
			return nil
		}
	}
	live, err := proctree.Group(g.pgid)
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(live, func(p proctree.Process) bool { return p.SID == g.sid }) {
		return proctree.ErrGone
	}
	g.remember(live)
	return nil
}

func (g *Group) remember(live []proctree.Process) {
	g.known = g.known[:0]
	for _, p := range live {
		g.known = append(g.known, p.ID)
	}
}

// Empty reports whether no live member is left. It asks the kernel for the group,
// and then looks at a member seen earlier. Only if the group exists, as it does
// with zombies too, and that member is gone, it looks through the process table.
func (g *Group) Empty() (bool, error) {
	if err := existence(g.send(0)); errors.Is(err, proctree.ErrGone) {
		return true, nil
	} else if err != nil {
		return false, err
	}
	if g.knownAlive() {
		return false, nil
	}
	live, err := g.Members()
	return err == nil && len(live) == 0, err
}

// knownAlive reports whether the first of the members last seen still is one.
func (g *Group) knownAlive() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.known) == 0 {
		return false
	}
	p, ok := proctree.Live(g.known[0])
	return ok && p.PGID == g.pgid
}

// Members returns the live members: none, and no error, if the group is gone.
// The error wraps os.ErrPermission if there are members but the system hides
// all of them from the caller.
func (g *Group) Members() ([]proctree.Process, error) {
	asked := g.send(0)
	if err := existence(asked); errors.Is(err, proctree.ErrGone) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	live, err := proctree.Group(g.pgid)
	if err != nil {
		return nil, err
	}
	// The number was this group's while the table was read, if it still is.
	if err := existence(g.send(0)); errors.Is(err, proctree.ErrGone) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	if len(live) == 0 && errors.Is(asked, syscall.EPERM) {
		return nil, g.hidden()
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.remember(live)
	return live, nil
}

// hidden tells two cases apart in which the kernel says that there are members,
// which the caller may not signal, and none is seen alive: all are zombies (nil),
// or the system shows none (an error).
func (g *Group) hidden() error {
	table, err := proctree.Snapshot()
	if err != nil {
		return err
	}
	if slices.ContainsFunc(table, func(p proctree.Process) bool { return p.PGID == g.pgid }) {
		return nil
	}
	if errors.Is(existence(g.send(0)), proctree.ErrGone) {
		return nil
	}
	return g.membersHidden()
}

func (g *Group) membersHidden() error {
	return fmt.Errorf("process group %d: its members are hidden: %w", g.pgid, os.ErrPermission)
}

// Wait returns nil as soon as no live member is left, or the context's cause.
// See reach.Drain for how it waits.
func (g *Group) Wait(ctx context.Context) error { return reach.Drain(ctx, g.Members) }

// Close releases the group. It does nothing to its members.
func (g *Group) Close() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return os.ErrClosed
	}
	g.closed = true
	if g.leader == nil {
		return nil
	}
	return g.leader.close()
}
