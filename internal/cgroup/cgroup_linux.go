package cgroup

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/corral-run/corral/internal/proctree"
	"github.com/corral-run/corral/internal/wakepoll"
)

// Dir is a cgroup, held by a descriptor of its directory: it is not mistaken
// for a later one of the same name. A cgroup that has been removed has no
// members, and nothing is left to be done to it.
//
// Members are the processes in the cgroup and in all cgroups below it. To the
// root of the hierarchy, where these are all processes, nothing is done: the
// error wraps errors.ErrUnsupported.
//
// The methods may be called at the same time, but Close only when the others
// have returned.
type Dir struct {
	path string
	fd   int

	killed atomic.Bool // Kill has been called

	mu     sync.Mutex
	events int // descriptor of cgroup.events, -1 until it is needed
}

// Create makes the cgroup path, in which there must not be one yet: the error
// wraps os.ErrExist then, and os.ErrPermission if the caller may not.
func Create(path string) (*Dir, error) {
	if err := os.Mkdir(path, 0o755); err != nil {
		return nil, fmt.Errorf("cgroup: create: %w", err)
	}
	return Open(path)
}

// Open returns the cgroup path. The error wraps os.ErrNotExist if there is none.
func Open(path string) (*Dir, error) {
	d, err := openDir(unix.AT_FDCWD, path, path)
	if err != nil {
		return nil, fmt.Errorf("cgroup: %w", err)
	}
	return d, nil
}

// FromFD returns the cgroup whose directory is open as fd, a descriptor that
// was inherited from another process, and takes fd over. Both processes share
// the lock: see Lock.
func FromFD(fd int, path string) *Dir {
	unix.CloseOnExec(fd)
	return &Dir{path: path, fd: fd, events: -1}
}

func openDir(at int, name, path string) (*Dir, error) {
	fd, err := unix.Openat(at, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	return &Dir{path: path, fd: fd, events: -1}, nil
}

// FD returns the descriptor of the directory, for
// syscall.SysProcAttr.CgroupFD. It belongs to d.
func (d *Dir) FD() int { return d.fd }

// Path returns the path that d was opened by.
func (d *Dir) Path() string { return d.path }

// Close closes the descriptors. It does nothing to the cgroup.
func (d *Dir) Close() error {
	err := unix.Close(d.fd)
	if d.events >= 0 {
		err = errors.Join(err, unix.Close(d.events))
	}
	if err != nil {
		return fmt.Errorf("cgroup: close %s: %w", d.path, err)
	}
	return nil
}

// Lock takes the lock of d, which is advisory: see flock(2). It does not
// wait; false says that another one has it. The lock belongs to the
// descriptor: the kernel lets go of it when the last process that has inherited
// a copy has closed it or ended, so whoever holds it is alive.
func (d *Dir) Lock() (bool, error) {
	switch err := unix.Flock(d.fd, unix.LOCK_EX|unix.LOCK_NB); err {
	case nil:
		return true, nil
	case unix.EWOULDBLOCK:
		return false, nil
	default:
		return false, fmt.Errorf("cgroup: lock: %w", &os.PathError{Op: "flock", Path: d.path, Err: err})
	}
}

// Populated reports whether there is a live member. A process counts until its
// last thread has ended, and not as a zombie.
func (d *Dir) Populated() (bool, error) {
	now, err := d.status()
	if err != nil {
		return false, fmt.Errorf("cgroup: %w", err)
	}
	return now.populated, nil
}

// Pristine reports whether d can be used like a new one, as far as that shows at
// a glance: no member, nothing below it, not frozen, and Kill has not been
// called. That somebody else has killed it, or has changed its type or a limit,
// does not show.
func (d *Dir) Pristine() (bool, error) {
	now, err := d.status()
	if err != nil || now.populated || now.frozen || d.killed.Load() {
		return false, err
	}
	var st unix.Stat_t
	if err := unix.Fstat(d.fd, &st); err != nil {
		return false, d.failed("stat", "", err)
	}
	return st.Nlink == 2, nil // one more for each directory in it, none if it has been removed
}

func (s status) empty() bool { return !s.populated }

// status reads cgroup.events. It is zero for a cgroup that has been removed.
func (d *Dir) status() (status, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.events < 0 {
		fd, err := d.openEvents()
		if fd < 0 {
			return status{}, err
		}
		d.events = fd
	}
	return d.readEvents(d.events)
}

// openEvents returns -1 and no error if d has been removed.
func (d *Dir) openEvents() (int, error) {
	fd, err := unix.Openat(d.fd, "cgroup.events", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	switch {
	case err == nil:
		return fd, nil
	case err != unix.ENOENT:
		return -1, d.failed("open", "cgroup.events", err)
	case d.removed():
		return -1, nil
	}
	return -1, fmt.Errorf("%s: %w for the root of the hierarchy", d.path, errors.ErrUnsupported)
}

func (d *Dir) readEvents(fd int) (status, error) {
	var b [256]byte
	n, err := unix.Pread(fd, b[:], 0)
	if err == unix.ENODEV {
		return status{}, nil
	}
	if err != nil {
		return status{}, d.failed("read", "cgroup.events", err)
	}
	now, err := parseEvents(b[:n])
	if err != nil {
		return status{}, fmt.Errorf("%s: %w", d.path, err)
	}
	return now, nil
}

// removed reports whether the directory is gone: it has no files then, while
// every cgroup has cgroup.procs.
func (d *Dir) removed() bool {
	return unix.Faccessat(d.fd, "cgroup.procs", unix.F_OK, 0) == unix.ENOENT
}

// Empty returns nil when there is no live member, and the cause of ctx if that
// is done first.
//
// It blocks a thread. It may return some milliseconds late: see holdBack.
func (d *Dir) Empty(ctx context.Context) error {
	err := d.await(ctx, status.empty)
	if err != nil && !errors.Is(err, context.Cause(ctx)) {
		return fmt.Errorf("cgroup: %w", err)
	}
	return err
}

// holdBack is more than the time, in milliseconds, that the kernel holds back an
// event after the one before: 10 ms, in whole ticks (cgroup_file_notify in
// kernel/cgroup/cgroup.c). It forgets the event if the cgroup is removed meanwhile.
// In this time there are looks without an event: some at once, as a process that has
// just been reaped may still count, and then at intervals that double, or when one of
// a few members ends.
const holdBack = 100

// await returns nil when cgroup.events says what is wanted.
func (d *Dir) await(ctx context.Context, reached func(status) bool) error {
	if now, err := d.status(); err != nil || reached(now) {
		return err
	}
	// Not d.events: the event goes to the descriptor, and whoever reads from it
	// next takes it from all others.
	events, err := d.openEvents()
	if events < 0 {
		return err
	}
	defer unix.Close(events)
	fds := []unix.PollFd{{Fd: int32(events), Events: unix.POLLPRI}}
	const atOnce = 8    // looks
	const closely = 100 // and no more, should one that has ended go on to be listed
	for looks, polls, timeout := 0, 0, 1; ; looks++ {
		now, err := d.readEvents(events)
		switch {
		case err != nil || reached(now):
			return err
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case looks < atOnce:
			runtime.Gosched()
			continue
		}
		var members []unix.PollFd
		if polls++; timeout > 0 && polls <= closely {
			members = d.pidfds()
		}
		n, err := wakepoll.Poll(ctx, append(fds, members...), timeout)
		for _, m := range members {
			unix.Close(int(m.Fd))
		}
		switch {
		case err != nil:
			return err
		case n > 0: // what comes next is held back
			looks, timeout = 0, 1
		case timeout < holdBack:
			timeout *= 2
		default:
			timeout = -1
		}
	}
}

// pidfds returns one for each member, to be closed, if these are few and there are
// pidfds to be had.
func (d *Dir) pidfds() (fds []unix.PollFd) {
	const few = 8
	pids, err := d.pids()
	if err != nil || len(pids) > few {
		return nil
	}
	for _, pid := range pids {
		if fd, err := unix.PidfdOpen(pid, 0); err == nil {
			fds = append(fds, unix.PollFd{Fd: int32(fd), Events: unix.POLLIN})
		}
	}
	return fds
}

// Members returns the live members, sorted by PID, with what proctree.Select says
// of them.
func (d *Dir) Members() ([]proctree.Process, error) {
	pids, err := d.pids()
	if err != nil {
		return nil, fmt.Errorf("cgroup: members: %w", err)
	}
	members, err := proctree.Select(pids)
	if err != nil {
		return nil, fmt.Errorf("cgroup: members of %s: %w", d.path, err)
	}
	// A PID may have been taken over before the look by a process that is no member.
	still, err := d.pidSet()
	if err != nil {
		return nil, fmt.Errorf("cgroup: members: %w", err)
	}
	members = slices.DeleteFunc(members, func(p proctree.Process) bool { return !p.Alive() || !still[p.PID] })
	slices.SortFunc(members, func(a, b proctree.Process) int { return a.PID - b.PID })
	return slices.CompactFunc(members, func(a, b proctree.Process) bool { return a.PID == b.PID }), nil
}

// pids returns the PIDs of the members, in the kernel's order: in each cgroup, who
// has come later comes later, as far as is known (css_task_iter in kernel/cgroup/cgroup.c).
// Parents are signalled first that way: a shell whose child is gone before it has the
// signal itself goes on to its next command. Zombies are not listed, one that is being moved
// may be twice.
func (d *Dir) pids() ([]int, error) {
	var pids []int
	err := d.walk(func(c *Dir) error {
		b, err := c.read("cgroup.procs")
		if errors.Is(err, unix.EOPNOTSUPP) && c != d {
			return nil // a threaded cgroup: its processes are listed further up
		}
		if err != nil {
			return err
		}
		listed, err := parseProcs(b)
		if err != nil {
			return fmt.Errorf("%s: %w", c.path, err)
		}
		pids = append(pids, listed...)
		return nil
	})
	return pids, err
}

func (d *Dir) pidSet() (map[int]bool, error) {
	pids, err := d.pids()
	set := make(map[int]bool, len(pids))
	for _, pid := range pids {
		set[pid] = true
	}
	return set, err
}

const (
	// maxPasses bounds the looks for members that were not there before.
	maxPasses = 20
	// maxHandles bounds the descriptors that are taken from the program at a time. For
	// as many of them all members are listed once more.
	maxHandles = 512
)

// Signal sends the signals, in this order, to every live member, once, also to
// those that are born meanwhile; after twenty passes it gives up on those that never stop to fork.
// A process that leaves the cgroup at this moment may get them, but no other one
// that has the PID of a member: see proctree.Open for the limits of that.
//
// The result is os.ErrProcessDone if there is no live member, wraps
// os.ErrPermission if there are and the caller may signal none of them, and is
// nil if any got the signal.
//
// If SIGCONT is among them, d and the cgroups below it are thawed before: otherwise a
// member that froze its cgroup could never obey.
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
	s := signaling{sigs: sigs, seen: make(map[proctree.Mark]bool), hidden: make(map[int]bool)}
	for range maxPasses {
		pids, err := d.pids()
		if err != nil {
			return s.sent, s.denied, err
		}
		settled := true
		for len(pids) > 0 {
			done, old, err := s.pass(d, pids[:min(len(pids), maxHandles)])
			if err != nil {
				return s.sent, s.denied, err
			}
			pids = pids[done:]
			settled = settled && old
		}
		if settled {
			return s.sent, s.denied, nil
		}
	}
	if s.sent == 0 && s.denied == nil {
		return 0, nil, fmt.Errorf("%s: no member lives long enough", d.path)
	}
	return s.sent, s.denied, nil
}

// signaling is some signals on their way to the members of a cgroup.
type signaling struct {
	sigs   []os.Signal
	seen   map[proctree.Mark]bool
	hidden map[int]bool // PIDs of those that the system hides
	sent   int
	denied error
}

// pass signals those of the listed members that have not been seen, as many as
// there are descriptors for. It returns how many of the list are done with, and
// whether all of those had been seen: otherwise there may be children of theirs by now,
// also of those that have ended.
func (s *signaling) pass(d *Dir, listed []int) (done int, settled bool, err error) {
	type member struct {
		at   int // in listed
		mark proctree.Mark
		*proctree.Handle
	}
	const spare = 8 // descriptors, for another look
	var fresh []member
	defer func() {
		for _, m := range fresh {
			m.Close()
		}
	}()
	settled = true
holding:
	for done < len(listed) {
		pid := listed[done]
		h, mark, err := proctree.Hold(pid)
		switch {
		case len(fresh) > spare && (errors.Is(err, unix.EMFILE) || errors.Is(err, unix.ENFILE)):
			for _, m := range fresh[len(fresh)-spare:] {
				m.Close()
			}
			fresh = fresh[:len(fresh)-spare]
			done = fresh[len(fresh)-1].at + 1
			break holding
		case err == nil && s.seen[mark]:
			h.Close()
		case err == nil:
			fresh, settled = append(fresh, member{done, mark, h}), false
		case errors.Is(err, os.ErrPermission):
			if !s.hidden[pid] {
				s.hidden[pid], s.denied, settled = true, err, false
			}
		case errors.Is(err, proctree.ErrGone):
			settled = false
		default:
			return done, false, err
		}
		done++
	}
	if len(fresh) == 0 {
		return done, settled, nil
	}
	// A PID that is listed now is that of the process that was opened before, or
	// that one has ended and its handle reaches nobody.
	still, err := d.pidSet()
	if err != nil {
		return done, false, err
	}
	for _, m := range fresh {
		if !still[listed[m.at]] {
			continue
		}
		switch err := m.Signal(s.sigs...); {
		case err == nil:
			s.seen[m.mark] = true
			s.sent++
		case errors.Is(err, os.ErrPermission):
			s.seen[m.mark], s.denied = true, err
		case !errors.Is(err, proctree.ErrGone):
			return done, false, err
		}
	}
	return done, false, nil
}

// killFile is a variable so that a test can take the file away.
var killFile = "cgroup.kill"

// Kill sends SIGKILL to every member, also to those that are born meanwhile,
// which the calling process must not be. When they have ended, Empty tells. It
// is no error if there is none.
//
// No process should be born in d afterwards. Some versions of Linux, 6.18 among
// them, kill a process at its birth (CLONE_INTO_CGROUP of clone(2)) in another
// cgroup than the parent's if cgroup.kill of one of the two has been written to
// before.
//
// Linux before 5.14 has no cgroup.kill: d is frozen then, so that no member can
// fork, and thawed when all have got the signal. If a member has not frozen
// within a second, the signals are sent nevertheless. Without cgroup.freeze, before
// 5.2, they are sent as those of Signal are.
//
// The error wraps os.ErrPermission if a member may not be signalled, and
// EOPNOTSUPP if d has been made a threaded cgroup.
func (d *Dir) Kill() error {
	d.killed.Store(true)
	err := d.write(killFile, "1")
	if errors.Is(err, unix.ENOENT) {
		err = d.killFrozen()
	}
	if err != nil && !gone(err) {
		return fmt.Errorf("cgroup: kill: %w", err)
	}
	return nil
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
		d.await(ctx, func(now status) bool { return now.frozen || now.empty() })
	}
	if gone(frozen) {
		frozen = nil // Linux before 5.2
	}
	_, denied, err := d.signal(unix.SIGKILL)
	return errors.Join(frozen, denied, err, d.thaw())
}

// thaw thaws d and what is below it. It does not stop at one that it cannot thaw.
func (d *Dir) thaw() error {
	var errs []error
	err := d.walk(func(c *Dir) error {
		b, err := c.read("cgroup.freeze")
		if err == nil && string(b) == "1\n" {
			err = c.write("cgroup.freeze", "0")
		}
		if !gone(err) { // nor does Linux before 5.2 have the file
			errs = append(errs, err)
		}
		return nil
	})
	return errors.Join(append(errs, err)...)
}

// MoveTo moves every member of d into other itself, until none is left. The
// kernel takes PIDs for this: a process that takes over the PID of a member
// which ends at this moment is moved instead, if the caller may move it.
//
// The error wraps os.ErrPermission if the caller may not write to other, or to
// the closest ancestor of both, EBUSY if other has controllers for its
// children, and EOPNOTSUPP if other is of type "domain invalid": see "Delegation
// Containment" and "No Internal Process Constraint" in the kernel's document.
func (d *Dir) MoveTo(other *Dir) error {
	if err := d.moveTo(other); err != nil {
		return fmt.Errorf("cgroup: move members of %s: %w", d.path, err)
	}
	return nil
}

func (d *Dir) moveTo(other *Dir) error {
	if now, err := d.status(); err != nil || now.empty() {
		return err
	}
	for range maxPasses {
		pids, err := d.pids()
		if err != nil {
			return err
		}
		if len(pids) == 0 {
			return d.settle()
		}
		for _, pid := range pids {
			err := other.write("cgroup.procs", strconv.Itoa(pid))
			if err != nil && !errors.Is(err, unix.ESRCH) {
				return err
			}
		}
	}
	return fmt.Errorf("new ones after %d passes", maxPasses)
}

// Remove removes the cgroup and all cgroups below it. The error wraps EBUSY if
// there is a live member, or one that still ends after a second.
func (d *Dir) Remove() error {
	err := d.settle()
	if err == nil {
		err = d.remove()
	}
	if err != nil {
		return fmt.Errorf("cgroup: remove: %w", err)
	}
	return nil
}

// settle waits for members that are not listed any more but still count: the
// kernel takes a process out of its cgroup a moment after its parent could
// reap it.
func (d *Dir) settle() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	err := d.await(ctx, status.empty)
	if errors.Is(err, context.DeadlineExceeded) {
		err = &os.PathError{Op: "wait", Path: d.path, Err: unix.EBUSY}
	}
	return err
}

func (d *Dir) remove() error {
	// There may be another one of this name.
	var own, named unix.Stat_t
	if err := unix.Fstat(d.fd, &own); err != nil {
		return &os.PathError{Op: "stat", Path: d.path, Err: err}
	}
	err := unix.Lstat(d.path, &named)
	if err == unix.ENOENT || err == nil && (own.Dev != named.Dev || own.Ino != named.Ino) {
		return nil
	}
	if err == nil {
		err = unix.Rmdir(d.path)
	}
	if err == unix.EBUSY {
		if err := d.removeBelow(); err != nil {
			return err
		}
		err = unix.Rmdir(d.path)
	}
	if err != nil && err != unix.ENOENT {
		return &os.PathError{Op: "rmdir", Path: d.path, Err: err}
	}
	return nil
}

func (d *Dir) removeBelow() error {
	return d.each(func(c *Dir, name string) error {
		if err := c.removeBelow(); err != nil {
			return err
		}
		if err := unix.Unlinkat(d.fd, name, unix.AT_REMOVEDIR); err != nil && err != unix.ENOENT {
			return c.failed("rmdir", "", err)
		}
		return nil
	})
}

// walk calls visit for d and every cgroup below it, parents first. Those that
// are removed meanwhile are left out.
func (d *Dir) walk(visit func(*Dir) error) error {
	if err := visit(d); gone(err) {
		return nil
	} else if err != nil {
		return err
	}
	return d.each(func(c *Dir, _ string) error { return c.walk(visit) })
}

// each calls visit for every cgroup directly in d, which is open for the time
// of the call.
func (d *Dir) each(visit func(c *Dir, name string) error) error {
	// A descriptor of its own, as the position in the directory belongs to it.
	fd, err := unix.Openat(d.fd, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if gone(err) {
		return nil
	}
	if err != nil {
		return d.failed("open", "", err)
	}
	dir := os.NewFile(uintptr(fd), d.path)
	entries, err := dir.ReadDir(-1)
	dir.Close()
	if err != nil && !gone(err) {
		return err
	}
	for _, entry := range entries {
		if !entry.IsDir() {
			continue
		}
		c, err := openDir(d.fd, entry.Name(), filepath.Join(d.path, entry.Name()))
		if gone(err) {
			continue
		}
		if err != nil {
			return err
		}
		err = visit(c, entry.Name())
		if err = errors.Join(err, c.Close()); err != nil {
			return err
		}
	}
	return nil
}

// read returns the content of a file of d.
func (d *Dir) read(name string) ([]byte, error) {
	fd, err := unix.Openat(d.fd, name, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, d.failed("open", name, err)
	}
	file := os.NewFile(uintptr(fd), filepath.Join(d.path, name))
	defer file.Close()
	return io.ReadAll(file)
}

// write writes to a file of d, which takes it as a whole or not at all.
func (d *Dir) write(name, data string) error {
	fd, err := unix.Openat(d.fd, name, unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return d.failed("open", name, err)
	}
	defer unix.Close(fd)
	if _, err := unix.Write(fd, []byte(data)); err != nil {
		return d.failed("write", name, err)
	}
	return nil
}

// failed says that the system call op failed for a file of d.
func (d *Dir) failed(op, name string, err error) error {
	return &os.PathError{Op: op, Path: filepath.Join(d.path, name), Err: err}
}

// gone: the file, or the cgroup that it belonged to, does not exist.
func gone(err error) bool { return errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENODEV) }
