package cgroup

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Remove removes the cgroup and all cgroups below it. The error wraps EBUSY if
// there is a live member, or one that is still ending after a second.
func (d *Dir) Remove() error {
	err := d.awaitEmpty()
	if err == nil {
		err = d.remove()
	}
	if err != nil {
		return fmt.Errorf("cgroup: remove: %w", err)
	}
	return nil
}

// awaitEmpty waits for members that are not listed any more but still count: the
// kernel takes a process out of its cgroup a moment after its parent could
// reap it.
func (d *Dir) awaitEmpty() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	err := d.await(ctx, status.empty, d.killAgain())
	if errors.Is(err, context.DeadlineExceeded) {
		err = &os.PathError{Op: "wait", Path: d.path, Err: unix.EBUSY}
	}
	return err
}

func (d *Dir) remove() error {
	// Another cgroup may have the name by now.
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
		if err := d.walk(nil, d.removeAt); err != nil {
			return err
		}
		err = unix.Rmdir(d.path)
	}
	if err != nil && err != unix.ENOENT {
		return &os.PathError{Op: "rmdir", Path: d.path, Err: err}
	}
	return nil
}

func (d *Dir) removeAt(dir int, name string) error {
	if err := unix.Unlinkat(dir, name, unix.AT_REMOVEDIR); err != nil && err != unix.ENOENT {
		return d.failed("rmdir", "…/"+name, err)
	}
	return nil
}

// Thaw thaws d and what is below it. It does not stop at one that it cannot thaw.
func (d *Dir) Thaw() error {
	if err := d.thaw(); err != nil {
		return fmt.Errorf("cgroup: thaw %s: %w", d.path, err)
	}
	return nil
}

func (d *Dir) thaw() error {
	errs := []error{thawAt(d.fd)}
	err := d.walk(func(dir int, _ string) error {
		errs = append(errs, thawAt(dir))
		return nil
	}, nil)
	return errors.Join(append(errs, err)...)
}

func thawAt(dir int) error {
	b, err := readAt(dir, "cgroup.freeze")
	if err == nil && string(b) == "1\n" {
		err = writeAt(dir, "cgroup.freeze", "0")
	}
	if gone(err) { // nor does Linux before 5.2 have the file
		return nil
	}
	return err
}

// walk calls enter, if that is not nil, for every cgroup below d, which is open
// then, and leave, if that is not nil, when all below that one have been seen, with
// its parent. Those that are removed meanwhile are left out.
//
// There may be thousands, one in the other: it takes two descriptors, and goes down
// and up step by step.
func (d *Dir) walk(enter, leave func(dir int, name string) error) error {
	ino, leaf, err := examine(d.fd)
	if leaf || err != nil {
		return err
	}
	// A descriptor of its own, as the position in the directory belongs to it.
	at, err := openAt(d.fd, ".")
	if gone(err) {
		return nil
	}
	if err != nil {
		return d.failed("open", "", err)
	}
	names, err := directories(at)
	w := walker{d, at, []level{{ino: ino, names: names}}, enter, leave}
	defer func() { unix.Close(w.at) }()
	if err != nil {
		return d.failed("read", "", err)
	}
	for {
		l := &w.levels[len(w.levels)-1]
		switch {
		case len(l.names) > 0:
			err = w.down(l)
		case len(w.levels) == 1:
			return nil
		default:
			err = w.up()
		}
		if err != nil {
			return err
		}
	}
}

// walker is where a walk has come to.
type walker struct {
	*Dir         // where it began
	at           int
	levels       []level // from there to at
	enter, leave func(dir int, name string) error
}

// level is a cgroup on the way of a walk.
type level struct {
	ino     uint64
	names   []string // of those in it that have not been entered yet
	entered string   // the last one that has
}

// down goes into the next cgroup of l, which is where the walk is.
func (w *walker) down(l *level) error {
	l.entered, l.names = l.names[0], l.names[1:]
	below, err := openAt(w.at, l.entered)
	if gone(err) {
		return nil
	}
	if err != nil {
		return w.failed("open", "…/"+l.entered, err)
	}
	unix.Close(w.at)
	w.at = below
	var next level
	var leaf bool
	if w.enter != nil {
		err = w.enter(w.at, l.entered)
	}
	if err == nil {
		next.ino, leaf, err = examine(w.at)
	}
	if err == nil && !leaf {
		next.names, err = directories(w.at)
	}
	if err != nil && !gone(err) {
		return err
	}
	w.levels = append(w.levels, next)
	return nil
}

// up goes back to the parent.
func (w *walker) up() (err error) {
	w.levels = w.levels[:len(w.levels)-1]
	parent := w.levels[len(w.levels)-1]
	w.at, err = ascend(w.at, parent.ino)
	if err == nil && w.leave != nil {
		err = w.leave(w.at, parent.entered)
	}
	return err
}

func openAt(dir int, name string) (int, error) {
	return unix.Openat(dir, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
}

// examine returns the inode number of a directory, and whether it contains no
// other.
func examine(dir int) (ino uint64, leaf bool, err error) {
	var st unix.Stat_t
	if err := unix.Fstat(dir, &st); err != nil {
		return 0, false, os.NewSyscallError("fstat", err)
	}
	return uint64(st.Ino), st.Nlink <= 2, nil
}

// ascend goes from a directory, which it closes, to its parent, which must have
// that inode number.
func ascend(dir int, ino uint64) (int, error) {
	up, err := openAt(dir, "..")
	if err != nil {
		return dir, os.NewSyscallError("open", err)
	}
	unix.Close(dir)
	if now, _, err := examine(up); err != nil || now != ino {
		return up, errors.Join(err, errors.New("a cgroup has another parent than before"))
	}
	return up, nil
}

// directories returns the names of the directories in one. See getdents64(2).
func directories(dir int) (names []string, err error) {
	const reclenAt, typeAt, nameAt = 16, 18, 19
	var b [4096]byte
	for {
		n, err := unix.Getdents(dir, b[:])
		if err == unix.EINTR {
			continue
		}
		if err != nil || n <= 0 {
			return names, err
		}
		for rest := b[:n]; len(rest) > nameAt; {
			length := int(binary.NativeEndian.Uint16(rest[reclenAt:]))
			if length <= nameAt || length > len(rest) {
				return names, unix.EBADMSG
			}
			name, _, _ := strings.Cut(string(rest[nameAt:length]), "\x00")
			if rest[typeAt] == unix.DT_DIR && name != "." && name != ".." {
				names = append(names, name)
			}
			rest = rest[length:]
		}
	}
}

// Names returns the names of the cgroups that are in d.
func (d *Dir) Names() ([]string, error) {
	fd, err := openAt(d.fd, ".")
	if err == nil {
		defer unix.Close(fd)
		var names []string
		if names, err = directories(fd); err == nil {
			return names, nil
		}
	}
	if gone(err) {
		return nil, nil
	}
	return nil, fmt.Errorf("cgroup: %w", d.failed("read", "", err))
}

// Below returns the cgroup of that name in d.
func (d *Dir) Below(name string) (*Dir, error) {
	fd, err := openAt(d.fd, name)
	if err != nil {
		return nil, fmt.Errorf("cgroup: %w", d.failed("open", name, err))
	}
	return newDir(fd, d.path+"/"+name), nil
}
