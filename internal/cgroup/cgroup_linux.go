package cgroup

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/corral-run/corral/internal/proctree"
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

	mu    sync.Mutex
	held  [files]int         // descriptors of its files, -1 until one is needed or Hold is called
	known []proctree.Process // the members, as last seen, sorted by PID
	meant []string           // controllers that HandOn has handed on
}

func newDir(fd int, path string) *Dir {
	d := &Dir{path: path, fd: fd}
	for f := range d.held {
		d.held[f] = -1
	}
	return d
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
		if n, err = d.peek(controllersFile, b[:]); err == nil && !d.meansAll(strings.Fields(string(b[:n]))) {
			err = d.Mend()
		}
	}
	if err != nil && !gone(err) {
		return fmt.Errorf("cgroup: %w", err)
	}
	return nil
}

// meansAll reports whether HandOn has handed on just these controllers.
func (d *Dir) meansAll(controllers []string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	unknown := func(name string) bool { return !slices.Contains(d.meant, name) }
	return len(controllers) == len(d.meant) && !slices.ContainsFunc(controllers, unknown)
}

// Mend undoes the settings of d that keep processes from being born below it, or
// from running: limits, controllers that it hands on without being meant to, and a
// freeze.
func (d *Dir) Mend() error {
	var errs []error
	for _, name := range limits {
		if ok, err := d.says(name, "max\n"); !ok {
			errs = append(errs, err, d.write(name, "max"))
		}
	}
	controllers, err := d.read("cgroup.subtree_control")
	for _, name := range strings.Fields(string(controllers)) {
		if !d.isMeant(name) {
			errs = append(errs, d.write("cgroup.subtree_control", "-"+name))
		}
	}
	d.mu.Lock()
	meant := slices.Clone(d.meant)
	d.mu.Unlock()
	for _, name := range meant { // somebody may have taken it away
		errs = append(errs, d.write("cgroup.subtree_control", "+"+name))
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
