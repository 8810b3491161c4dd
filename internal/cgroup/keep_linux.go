package cgroup

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Freeze stops all members where they are, so that none forks, and returns what lets
// them go on. A process that is moved to another cgroup goes on by itself. One that
// sleeps uninterruptibly does not freeze, nor does it fork; Freeze waits a second
// for it, or until ctx is done.
//
// A member that may write to d's files may thaw it. The kernel has it since 5.2.
func (d *Dir) Freeze(ctx context.Context) (thaw func(), err error) {
	if err := d.write("cgroup.freeze", "1"); err != nil {
		return nil, fmt.Errorf("cgroup: freeze: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	d.await(ctx, func(now status) bool { return now.frozen || now.empty() }, nil)
	return func() { d.write("cgroup.freeze", "0") }, nil
}

// Admit moves a process into d. One that has ended is no error.
func (d *Dir) Admit(pid int) error {
	if err := d.writeHeld(entryFile, strconv.Itoa(pid)); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("cgroup: move process %d to %s: %w", pid, d.path, err)
	}
	return nil
}

// Enter moves this process to a new cgroup, which is not there if that fails.
func Enter(path string) error {
	d, err := Create(path)
	if err != nil {
		return err
	}
	defer d.Close()
	if err := d.Admit(os.Getpid()); err != nil {
		d.Remove()
		return err
	}
	return nil
}

// Between returns the names of the cgroups below d that a member is in, from the top
// down. d is known by its name and that of the cgroup around it.
func (d *Dir) Between(pid int) (names []string, err error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	if err != nil {
		return nil, err
	}
	path, _ := parseMembership(b)
	around, name := filepath.Base(filepath.Dir(d.path)), filepath.Base(d.path)
	_, below, found := strings.Cut(path+"/", "/"+around+"/"+name+"/")
	if !found {
		return nil, fmt.Errorf("cgroup: process %d is not below %s, but in %s", pid, d.path, path)
	}
	return strings.FieldsFunc(below, func(c rune) bool { return c == '/' }), nil
}

// PIDs returns the members that are in d itself.
func (d *Dir) PIDs() ([]int, error) { return d.pids() }
