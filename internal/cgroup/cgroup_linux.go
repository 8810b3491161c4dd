package cgroup

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

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

	mu   sync.Mutex
	held [files]int // descriptors of its files, -1 until one is needed or Hold is called
}

// file is one of those that a Dir keeps open, as there may be no descriptor left
// when they are needed.
type file int

const (
	eventsFile file = iota
	procsFile
	killsFile
	entryFile // cgroup.procs, to write to
	typeFile
	controllersFile // those that are handed on to the cgroups in it
	files
)

// killFile is a variable so that a test can take the file away.
var killFile = "cgroup.kill"

func (f file) name() string {
	switch f {
	case eventsFile:
		return "cgroup.events"
	case killsFile:
		return killFile
	case typeFile:
		return "cgroup.type"
	case controllersFile:
		return "cgroup.subtree_control"
	}
	return "cgroup.procs"
}

func (f file) mode() int {
	if f == killsFile || f == entryFile {
		return unix.O_WRONLY
	}
	return unix.O_RDONLY
}

func newDir(fd int, path string) *Dir {
	d := &Dir{path: path, fd: fd}
	for f := range d.held {
		d.held[f] = -1
	}
	return d
}

// Hold opens what is needed to kill the members, to list those that are in d
// itself, and to know when there is none: from then on, this takes no new
// descriptor. For cgroups below d, listing does.
func (d *Dir) Hold() error { return d.hold(eventsFile, procsFile, killsFile) }

// HoldEntry opens what MoveTo needs of its target.
func (d *Dir) HoldEntry() error { return d.hold(entryFile) }

// HoldState opens what Usable looks at.
func (d *Dir) HoldState() error { return d.hold(typeFile, controllersFile) }

func (d *Dir) hold(all ...file) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, f := range all {
		if _, err := d.heldFD(f); err != nil && !errors.Is(err, unix.ENOENT) { // as some kernels have no cgroup.kill
			return fmt.Errorf("cgroup: %w", err)
		}
	}
	return nil
}

// heldFD returns the descriptor of a file of d, which stays open. Call it with mu
// locked.
func (d *Dir) heldFD(f file) (int, error) {
	if d.held[f] < 0 {
		fd, err := unix.Openat(d.fd, f.name(), f.mode()|unix.O_CLOEXEC, 0)
		if err != nil {
			return -1, d.failed("open", f.name(), err)
		}
		d.held[f] = fd
	}
	return d.held[f], nil
}

// Create makes the cgroup path. The error wraps os.ErrExist if there is one
// already, and os.ErrPermission if the caller may not make it.
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
	return newDir(fd, path)
}

func openDir(at int, name, path string) (*Dir, error) {
	fd, err := unix.Openat(at, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	return newDir(fd, path), nil
}

// FD returns the descriptor of the directory, for
// syscall.SysProcAttr.CgroupFD. It belongs to d.
func (d *Dir) FD() int { return d.fd }

// Path returns the path that d was opened by.
func (d *Dir) Path() string { return d.path }

// Close closes the descriptors. It does nothing to the cgroup.
func (d *Dir) Close() error {
	err := unix.Close(d.fd)
	for _, fd := range d.held {
		if fd >= 0 {
			err = errors.Join(err, unix.Close(fd))
		}
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

// Pristine reports whether d can be used like a new one, as far as that shows at a
// glance: no member, nothing below it, not frozen, not threaded, and Kill has not
// been called. That somebody else has killed it does not show (see Kill), nor do
// limits to what can be made below it.
func (d *Dir) Pristine() (bool, error) {
	now, err := d.status()
	if err != nil || now.populated || now.frozen || d.killed.Load() {
		return false, err
	}
	var st unix.Stat_t
	if err := unix.Fstat(d.fd, &st); err != nil {
		return false, d.failed("stat", "", err)
	}
	if st.Nlink != 2 { // one more for each directory in it, none if it has been removed
		return false, nil
	}
	var b [1]byte
	n, err := d.peek(procsFile, b[:])
	if errors.Is(err, unix.EOPNOTSUPP) {
		return false, nil // threaded
	}
	return n == 0, err
}

// limits are the files of every cgroup that say what may be made below it.
var limits = []string{"cgroup.max.depth", "cgroup.max.descendants"}

// says reports whether a file of d has exactly that content.
func (d *Dir) says(name, content string) (bool, error) {
	b, err := d.read(name)
	return string(b) == content, err
}

// Usable returns nil if processes can be born in cgroups that are made in d, as far
// as a glance shows. The error says what stands in the way and cannot be taken
// away. A removed cgroup is usable: its removal shows soon enough.
func (d *Dir) Usable() error {
	var b [32]byte
	n, err := d.peek(typeFile, b[:])
	if err == nil && string(b[:n]) != "domain\n" {
		err = fmt.Errorf("%s: somebody has made its type %q", d.path, b[:n])
	}
	if err == nil {
		if n, err = d.peek(controllersFile, b[:]); err == nil && n > 0 {
			err = d.Mend()
		}
	}
	if err != nil && !gone(err) {
		return fmt.Errorf("cgroup: %w", err)
	}
	return nil
}

// peek returns the beginning of a file of d that stays open.
func (d *Dir) peek(f file, b []byte) (n int, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	fd, err := d.heldFD(f)
	if err != nil {
		return 0, err
	}
	if n, err = unix.Pread(fd, b, 0); err != nil {
		return 0, d.failed("read", f.name(), err)
	}
	return n, nil
}

// Mend undoes the settings of d that keep processes from being born below it, or
// from running: limits, controllers that it hands on, and a freeze.
func (d *Dir) Mend() error {
	var errs []error
	for _, name := range limits {
		if ok, err := d.says(name, "max\n"); !ok {
			errs = append(errs, err, d.write(name, "max"))
		}
	}
	controllers, err := d.read("cgroup.subtree_control")
	for _, name := range strings.Fields(string(controllers)) {
		errs = append(errs, d.write("cgroup.subtree_control", "-"+name))
	}
	if err := errors.Join(append(errs, err, thawAt(d.fd))...); err != nil {
		return fmt.Errorf("cgroup: %w", err)
	}
	return nil
}

// mark is the extended attribute that says what a name cannot: that a directory is
// Corral's. Linux has such for cgroups since 5.7
// (Documentation/admin-guide/cgroup-v2.rst, and kernfs in fs/kernfs/inode.c).
const mark = "user.corral"

// Mark marks d as one that has been made for Marked to find.
func (d *Dir) Mark() error {
	if err := unix.Fsetxattr(d.fd, mark, []byte("1"), 0); err != nil {
		return fmt.Errorf("cgroup: %w", d.failed("setxattr", "", err))
	}
	return nil
}

// Marked reports whether Mark has been called for d, by whichever process.
func (d *Dir) Marked() bool {
	_, err := unix.Fgetxattr(d.fd, mark, nil)
	return err == nil
}

func (s status) empty() bool { return !s.populated }

// status reads cgroup.events. It is zero for a cgroup that has been removed.
func (d *Dir) status() (status, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	fd, err := d.heldFD(eventsFile)
	if err != nil {
		return status{}, d.withoutEvents(err)
	}
	return d.readEvents(fd)
}

// withoutEvents says what it means that cgroup.events cannot be opened: nothing, if
// d has been removed.
func (d *Dir) withoutEvents(err error) error {
	switch {
	case !errors.Is(err, unix.ENOENT):
		return err
	case d.removed():
		return nil
	}
	return fmt.Errorf("%s: %w for the root of the hierarchy", d.path, errors.ErrUnsupported)
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

// Empty returns nil when there is no live member, and the cause of ctx if that is
// done first. Once Kill has been called, it kills whoever is still there again and
// again.
//
// It blocks a thread. It may return some milliseconds late: see eventDelay.
func (d *Dir) Empty(ctx context.Context) error {
	err := d.await(ctx, status.empty, func() {
		if d.killed.Load() {
			d.kill()
		}
	})
	if err != nil && !errors.Is(err, context.Cause(ctx)) {
		return fmt.Errorf("cgroup: %w", err)
	}
	return err
}

// eventDelay is more than the time, in milliseconds, that the kernel holds back an
// event after the one before: 10 ms, in whole ticks (cgroup_file_notify in
// kernel/cgroup/cgroup.c). It forgets the event if the cgroup is removed meanwhile.
// During this time await looks without an event: a few times at once, as a process
// that has just been reaped may still count, then at intervals that double, and
// when one of a few members ends.
const eventDelay = 100

// await returns nil when cgroup.events says what is wanted. If late is not nil, it
// is called whenever the kernel has had enough time to say so and has not.
func (d *Dir) await(ctx context.Context, reached func(status) bool, late func()) error {
	if now, err := d.status(); err != nil || reached(now) {
		return err
	}
	events, own, err := d.ownEvents()
	if err != nil {
		return d.withoutEvents(err)
	}
	if own {
		defer unix.Close(events)
	}
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
		case n > 0: // what comes next is delayed
			looks, timeout = 0, 1
			continue
		case timeout >= 0 && timeout < eventDelay:
			timeout *= 2
			continue
		}
		if late != nil {
			late()
		}
		if timeout = -1; !own || late != nil && d.killed.Load() {
			timeout = eventDelay
		}
	}
}

// ownEvents returns a descriptor of cgroup.events for one that waits: the event
// goes to the descriptor, and whoever reads from it next takes it from all others.
// If there is none to be had, it is that of d, and the event may be missed.
func (d *Dir) ownEvents() (fd int, own bool, err error) {
	fd, err = unix.Openat(d.fd, eventsFile.name(), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if exhausted(err) {
		d.mu.Lock()
		defer d.mu.Unlock()
		fd, err = d.heldFD(eventsFile)
		return fd, false, err
	}
	if err != nil {
		return -1, false, d.failed("open", eventsFile.name(), err)
	}
	return fd, true, nil
}

// exhausted: the process, the system or the user has as many descriptors as it may.
func exhausted(err error) bool {
	return errors.Is(err, unix.EMFILE) || errors.Is(err, unix.ENFILE) || errors.Is(err, unix.ENOMEM)
}

// pidfds returns a pidfd for each member, for the caller to close, if the members
// are few and in d itself. A member for which there is none to be had is left out.
func (d *Dir) pidfds() (fds []unix.PollFd) {
	const few = 8
	pids, err := d.listed()
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

// Pause returns after ms milliseconds, or sooner if d gets its first member or
// loses its last.
func (d *Dir) Pause(ms int) {
	d.mu.Lock()
	fd := d.held[eventsFile]
	d.mu.Unlock()
	wakepoll.Poll(context.Background(), []unix.PollFd{{Fd: int32(fd), Events: unix.POLLPRI}}, ms) // a negative fd is passed over
}
