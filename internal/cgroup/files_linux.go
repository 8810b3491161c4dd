package cgroup

import (
	"errors"
	"fmt"
	"os"
	"slices"

	"golang.org/x/sys/unix"
)

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

// says reports whether a file of d has exactly that content.
func (d *Dir) says(name, content string) (bool, error) {
	b, err := d.read(name)
	return string(b) == content, err
}

// exhausted: the process, the system or the user has as many descriptors as it may.
func exhausted(err error) bool {
	return errors.Is(err, unix.EMFILE) || errors.Is(err, unix.ENFILE) || errors.Is(err, unix.ENOMEM)
}

// writeHeld writes to a file of d that stays open: as a whole or not at all.
func (d *Dir) writeHeld(f file, data string) error {
	d.mu.Lock()
	fd, err := d.heldFD(f)
	d.mu.Unlock()
	if err != nil {
		return err
	}
	if _, err := unix.Pwrite(fd, []byte(data), 0); err != nil {
		return d.failed("write", f.name(), err)
	}
	return nil
}

// write writes to a file of d, which takes it as a whole or not at all.
func (d *Dir) write(name, data string) error {
	if err := writeAt(d.fd, name, data); err != nil {
		return d.failed("write", name, err)
	}
	return nil
}

// read returns the content of a file of d.
func (d *Dir) read(name string) ([]byte, error) {
	b, err := readAt(d.fd, name)
	if err != nil {
		return nil, d.failed("read", name, err)
	}
	return b, nil
}

// failed says that the system call op failed for a file of d.
func (d *Dir) failed(op, name string, err error) error {
	return &os.PathError{Op: op, Path: d.path + "/" + name, Err: err}
}

func writeAt(dir int, name, data string) error {
	fd, err := unix.Openat(dir, name, unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	_, err = unix.Write(fd, []byte(data))
	return err
}

func readAt(dir int, name string) ([]byte, error) {
	fd, err := unix.Openat(dir, name, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	return readAll(fd)
}

// readAll reads a file from its beginning. Files of cgroups are not longer than
// this allows, and those of /proc are not to be trusted with it.
func readAll(fd int) ([]byte, error) {
	const most = 64 << 20
	b := make([]byte, 0, 1024)
	for len(b) < most {
		b = slices.Grow(b, 512)
		n, err := unix.Pread(fd, b[len(b):cap(b)], int64(len(b)))
		if err == unix.EINTR {
			continue
		}
		if err != nil || n == 0 {
			return b, err
		}
		b = b[:len(b)+n]
	}
	return b, unix.EFBIG
}

// gone: the file, or the cgroup that it belonged to, does not exist.
func gone(err error) bool { return errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENODEV) }
