package cgroup

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/corral-run/corral/internal/proctree"
)

const (
	// maxPasses bounds the looks for members that were not there before.
	maxPasses = 20
	// maxTime bounds them where each takes long, as in a storm of forks. The first
	// one is always finished.
	maxTime = 300 * time.Millisecond
	// maxHandles bounds the descriptors that are taken from the program at a time.
	// After each such batch the members are listed again.
	maxHandles = 512
)

// Signal sends the signals, in this order, once to every live member, also to those
// that are born meanwhile. After twenty passes it gives up on members that never
// stop forking. A process that leaves the cgroup at this moment may get them, but
// no other process that has the PID of a member: see proctree.Open for the limits
// of that. Where there is no descriptor to hold a member by, the signals go to its
// PID right after it has been listed; a process that takes over the PID between
// these two calls gets them. A member that is born with the PID of another that has
// had them in this call does not get them, unless they kill.
//
// The result is os.ErrProcessDone if there is no live member, wraps
// os.ErrPermission if there are and the caller may signal none of them, and is
// nil if any got the signal.
//
// If SIGCONT is among them, d and the cgroups below it are thawed first: otherwise
// a member that froze its cgroup could never obey.
func (d *Dir) Signal(sigs ...os.Signal) error {
	now, err := d.status()
	if err == nil && now.empty() {
		return os.ErrProcessDone
	}
	if err != nil {
		return fmt.Errorf("cgroup: send %s: %w", names(sigs), err)
	}
	var thawed error
	if slices.Contains(sigs, os.Signal(syscall.SIGCONT)) {
		thawed = d.thaw()
	}
	sent, denied, err := d.signal(sigs...)
	if sent > 0 && exhausted(thawed) {
		thawed = nil // none is known to be frozen
	}
	switch err := errors.Join(thawed, err); {
	case err != nil:
		return fmt.Errorf("cgroup: send %s: %w", names(sigs), err)
	case sent > 0:
		return nil
	case denied != nil:
		return fmt.Errorf("cgroup: send %s to the members of %s: %w", names(sigs), d.path, denied)
	}
	return os.ErrProcessDone
}

func names(sigs []os.Signal) string { return strings.Trim(fmt.Sprint(sigs), "[]") }

// signal returns how many members got the signals and, if there was one that the
// caller may not signal, what the system said to that.
func (d *Dir) signal(sigs ...os.Signal) (sent int, denied, err error) {
	s := newSignaling(d, sigs)
	for began, i := time.Now(), 0; i < maxPasses && (i == 0 || time.Since(began) < maxTime); i++ {
		allSeen, err := s.round()
		if allSeen || err != nil {
			return s.sent, s.denied, err
		}
	}
	if s.sent == 0 && s.denied == nil {
		return 0, nil, fmt.Errorf("%s: no member lives long enough to be signalled", d.path)
	}
	return s.sent, s.denied, nil
}

// signaling is some signals on their way to the members of a cgroup.
type signaling struct {
	*Dir
	list   func() ([]int, error)
	sigs   []os.Signal
	kills  bool
	seen   map[proctree.Mark]bool // those that have been killed: their PIDs may be others' soon
	byPID  map[int]bool           // those that are known by their PID alone, hidden ones among them
	sent   int
	denied error
}

func newSignaling(d *Dir, sigs []os.Signal) *signaling {
	return &signaling{
		Dir: d, list: d.pids, sigs: sigs, kills: slices.Contains(sigs, os.Signal(unix.SIGKILL)),
		seen: make(map[proctree.Mark]bool), byPID: make(map[int]bool),
	}
}

// round signals the members that have not been seen, and reports whether all of
// them had been: otherwise there may be children of the new ones by now, even of
// those that have ended.
func (s *signaling) round() (allSeen bool, err error) {
	pids, err := s.list()
	if err != nil {
		return false, err
	}
	allSeen = true
	for len(pids) > 0 {
		done, old, err := s.pass(pids[:min(len(pids), maxHandles)])
		if err != nil {
			return false, err
		}
		pids = pids[done:]
		allSeen = allSeen && old
	}
	return allSeen, nil
}

// pass signals those of the listed members that have not been seen, as many as
// there are descriptors for. It returns how many of the list are done with, and
// whether all of those had been seen.
func (s *signaling) pass(listed []int) (done int, allSeen bool, err error) {
	p := pass{signaling: s, listed: listed, allSeen: true}
	defer func() { p.release(0) }()
	switch err := p.hold(); {
	case exhausted(err):
		p.release(0)
		p.done = min(len(listed), p.done+64) // as many as have the signal soon after the look
		old, err := s.passByPID(listed[:p.done])
		return p.done, p.allSeen && old, err
	case err != nil:
		return p.done, false, err
	}
	if len(p.lost) > 0 {
		old, err := s.passByPID(p.lost)
		if err != nil {
			return p.done, false, err
		}
		p.allSeen = p.allSeen && old
	}
	return p.done, p.allSeen, s.send(p.fresh, listed)
}

// pass is a part of the list, and what has become of those in it.
type pass struct {
	*signaling
	listed  []int
	done    int  // the first of the list that has yet to be looked at
	allSeen bool // those before it have
	fresh   []heldMember
	lost    []int // are listed, and yet not there
}

// heldMember is a member that is held by a descriptor.
type heldMember struct {
	at   int // in the list
	mark proctree.Mark
	*proctree.Handle
}

// hold opens those of the list that have not been seen, as many as there are
// descriptors for. The error is that of the lack of them if there are too few to go
// on with.
func (p *pass) hold() error {
	const spare = 8 // descriptors, for another look
	for ; p.done < len(p.listed); p.done++ {
		pid := p.listed[p.done]
		if p.byPID[pid] && !p.kills {
			continue
		}
		h, mark, err := p.open(pid)
		switch {
		case exhausted(err) && len(p.fresh) > spare:
			p.release(len(p.fresh) - spare)
			p.done = p.fresh[len(p.fresh)-1].at + 1
			return nil
		case err == nil && p.seen[mark]:
			h.Close()
		case err == nil:
			p.fresh, p.allSeen = append(p.fresh, heldMember{p.done, mark, h}), false
		case errors.Is(err, os.ErrPermission):
			if !p.byPID[pid] {
				p.byPID[pid], p.denied, p.allSeen = true, err, false
			}
		case errors.Is(err, proctree.ErrGone):
			p.lost = append(p.lost, pid)
		default:
			return err
		}
	}
	return nil
}

// open opens the process that has the PID, with a mark if it is to be killed: see
// remember.
func (p *pass) open(pid int) (h *proctree.Handle, mark proctree.Mark, err error) {
	if p.kills {
		return proctree.HoldMarked(pid)
	}
	h, err = proctree.Hold(pid)
	return h, mark, err
}

// release lets go of those from number from on.
func (p *pass) release(from int) {
	for _, m := range p.fresh[from:] {
		m.Close()
	}
	p.fresh = p.fresh[:from]
}

// send signals those that are members still.
func (s *signaling) send(fresh []heldMember, listed []int) error {
	if len(fresh) == 0 {
		return nil
	}
	// A PID that is listed now is that of the process that was opened before, or
	// that one has ended and its handle reaches nobody.
	still, err := setOf(s.list())
	if err != nil {
		return err
	}
	for _, m := range fresh {
		if !still[listed[m.at]] {
			continue
		}
		switch err := m.Signal(s.sigs...); {
		case err == nil:
			s.remember(m, listed)
			s.sent++
		case errors.Is(err, os.ErrPermission):
			s.remember(m, listed)
			s.denied = err
		case !errors.Is(err, proctree.ErrGone):
			return err
		}
	}
	return nil
}

// remember notes that m has had the signals. If they do not kill, its PID is
// enough: there are not so many forks in maxTime that it comes to be another's. To
// tell by a look would take as long as to signal.
func (s *signaling) remember(m heldMember, listed []int) {
	if s.kills {
		s.seen[m.mark] = true
	} else {
		s.byPID[listed[m.at]] = true
	}
}

// passByPID is pass where nothing can be opened, or not looked at: whoever is
// listed now gets the signals by its PID, if it has not had them so before.
func (s *signaling) passByPID(listed []int) (allSeen bool, err error) {
	still, err := setOf(s.list())
	if err != nil {
		return false, err
	}
	allSeen = true
	for _, pid := range listed {
		if pid <= 1 || s.byPID[pid] {
			continue
		}
		allSeen = false // also if it has ended: it may have forked
		if !still[pid] {
			continue
		}
		s.byPID[pid] = true
		switch err := sendToPID(pid, s.sigs); err {
		case nil:
			s.sent++
		case unix.ESRCH:
		default:
			s.denied = os.NewSyscallError("kill", err)
		}
	}
	return allSeen, nil
}

func sendToPID(pid int, sigs []os.Signal) error {
	for _, sig := range sigs {
		number, ok := sig.(syscall.Signal)
		if !ok {
			return unix.EINVAL
		}
		if err := unix.Kill(pid, number); err != nil {
			return err
		}
	}
	return nil
}

// Kill sends SIGKILL to every member, also to those that are born meanwhile. The
// calling process must not be one. AwaitEmpty tells when they have ended. It is no
// error if there is none.
//
// No process should be born in d afterwards. Some versions of Linux, 6.18 among
// them, kill a process at its birth (CLONE_INTO_CGROUP of clone(2)) in another
// cgroup than the parent's if cgroup.kill of one of the two has been written to
// before.
//
// cgroup.kill does not end a process whose first thread has ended: the kernel sends
// the signal to that thread alone (__cgroup_kill in kernel/cgroup/cgroup.c,
// complete_signal in kernel/signal.c). KillRest does; AwaitEmpty and Remove call it
// for whoever is listed and does not go away.
//
// Linux before 5.14 has no cgroup.kill, and a cgroup that has been made threaded
// refuses it: d is frozen then, so that no member can
// fork, and thawed when all have got the signal. If a member has not frozen
// within a second, the signals are sent nevertheless. Without cgroup.freeze, before
// 5.2, they are sent as those of Signal are.
//
// The error wraps os.ErrPermission if a member may not be signalled.
func (d *Dir) Kill() error {
	d.killed.Store(true)
	err := d.writeHeld(killsFile, "1")
	if withoutKill(err) {
		err = d.killFrozen()
	}
	if err != nil && !gone(err) {
		return fmt.Errorf("cgroup: kill: %w", err)
	}
	return nil
}

// withoutKill reports whether err says that d cannot be killed as a whole.
func withoutKill(err error) bool {
	return errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOENT)
}

// KillRest is Kill, and sends SIGKILL to everybody who is listed after that, as a
// process, until no one new is. It takes a few system calls for each.
func (d *Dir) KillRest() error {
	d.killed.Store(true)
	if err := d.killRest(); err != nil && !gone(err) {
		return fmt.Errorf("cgroup: kill: %w", err)
	}
	return nil
}

// killAgain returns a function that calls killRest if Kill has been called, and the
// members have not become fewer for as long as so many take: those that have been
// killed go away one by one, and need nothing more.
func (d *Dir) killAgain() func() {
	const each = 20 * time.Microsecond
	before, since := math.MaxInt, time.Now()
	return func() {
		if !d.killed.Load() {
			return
		}
		left, err := d.leaders()
		switch {
		case err == nil && len(left) < before:
			before, since = len(left), time.Now()
		case err != nil || time.Since(since) > time.Duration(len(left))*each:
			d.killRest()
		}
	}
}

func (d *Dir) killRest() error {
	s, thorough := newSignaling(d, []os.Signal{unix.SIGKILL}), false
	for range maxPasses {
		err := d.writeHeld(killsFile, "1")
		if withoutKill(err) {
			return d.killFrozen()
		}
		if err != nil {
			return err
		}
		allSeen, err := s.round()
		if err != nil {
			return nil // it concerns the few that the kernel has passed over, and AwaitEmpty tells
		}
		if allSeen {
			if now, err := d.status(); err != nil || now.empty() || thorough {
				return nil
			}
			thorough, s.list = true, d.everyone
		}
	}
	return d.killFrozen()
}

func (d *Dir) killFrozen() error {
	// This fails for the root of the hierarchy, which has no cgroup.kill either.
	if now, err := d.status(); err != nil || now.empty() {
		return err
	}
	frozen := d.write("cgroup.freeze", "1")
	if frozen == nil {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		// One that sleeps uninterruptibly does not freeze, nor does it fork.
		d.await(ctx, func(now status) bool { return now.frozen || now.empty() }, nil)
	}
	if gone(frozen) || exhausted(frozen) {
		frozen = nil // Linux before 5.2, or it is done without
	}
	_, denied, err := d.signal(unix.SIGKILL)
	if now, serr := d.status(); serr == nil && !now.empty() {
		s := newSignaling(d, []os.Signal{unix.SIGKILL})
		s.list = d.everyone
		s.round()
	}
	thawed := d.thaw()
	if exhausted(thawed) {
		thawed = nil
	}
	return errors.Join(frozen, denied, err, thawed)
}
