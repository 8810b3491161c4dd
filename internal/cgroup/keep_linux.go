package cgroup

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// Freeze stops all members where they are, so that none forks, and returns what lets
// them go on. A process that is moved to another cgroup goes on by itself. One that
// sleeps uninterruptibly does not freeze, nor does it fork; Freeze waits a second
// for it.
//
// A member that may write to d's files may thaw it. The kernel has it since 5.2.
func (d *Dir) Freeze() (thaw func(), err error) {
	if err := d.write("cgroup.freeze", "1"); err != nil {
		return nil, fmt.Errorf("cgroup: freeze: %w", err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
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

// PIDs returns the members that are in d itself.
func (d *Dir) PIDs() ([]int, error) { return d.pids() }
