package cgroup

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Own returns the directory of the calling process's own cgroup. The error
// wraps errors.ErrUnsupported if the version 2 hierarchy is not there, or if no
// mount that the process can see shows its cgroup, as in some containers.
func Own() (string, error) {
	dir, err := own()
	if err != nil {
		return "", fmt.Errorf("cgroup: the process's own: %w", err)
	}
	return dir, nil
}

// Holds reports whether the calling process is in d, or in a cgroup below it. Its
// errors are those of Own.
func (d *Dir) Holds() (bool, error) {
	own, err := Own()
	if err != nil {
		return false, err
	}
	var this, at unix.Stat_t
	if err := unix.Fstat(d.fd, &this); err != nil {
		return false, d.failed("stat", "", err)
	}
	for dir := own; ; dir = filepath.Dir(dir) {
		if err := unix.Stat(dir, &at); err != nil {
			return false, &os.PathError{Op: "stat", Path: dir, Err: err}
		}
		if at.Dev == this.Dev && at.Ino == this.Ino {
			return true, nil
		}
		if dir == filepath.Dir(dir) {
			return false, nil
		}
	}
}

func own() (string, error) {
	membership, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return "", err
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return "", err
	}
	dirs, err := candidates(mounts, membership)
	if err != nil {
		return "", err
	}
	for _, dir := range dirs {
		// A mount may be hidden by a later one.
		var fs unix.Statfs_t
		if err = unix.Statfs(dir, &fs); err != nil {
			err = &os.PathError{Op: "statfs", Path: dir, Err: err}
		} else if fs.Type == unix.CGROUP2_SUPER_MAGIC {
			return dir, nil
		}
	}
	return "", errors.Join(fmt.Errorf("%w: hidden by another mount: %s", errors.ErrUnsupported, strings.Join(dirs, ", ")), err)
}
