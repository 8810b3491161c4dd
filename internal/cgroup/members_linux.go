package cgroup

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/corral-run/corral/internal/proctree"
)

// Members returns the live members, sorted by PID, with what proctree.Select says
// of them, at this look or an earlier one. If there is no descriptor to ask with,
// that is the PID alone.
func (d *Dir) Members() ([]proctree.Process, error) {
	pids, err := d.pids()
	if err != nil {
		return nil, fmt.Errorf("cgroup: members: %w", err)
	}
	d.mu.Lock()
	known := d.known
	d.mu.Unlock()
	members, err := proctree.Select(pids, known...)
	if exhausted(err) {
		members, err = nameless(pids), nil
	}
	if err != nil {
		return nil, fmt.Errorf("cgroup: members of %s: %w", d.path, err)
	}
	// A PID may have been taken over before the look by a process that is no
	// member.
	still, err := setOf(d.pids())
	if err != nil {
		return nil, fmt.Errorf("cgroup: members: %w", err)
	}
	members = slices.DeleteFunc(members, func(p proctree.Process) bool { return !p.Alive() || !still[p.PID] })
	slices.SortFunc(members, func(a, b proctree.Process) int { return a.PID - b.PID })
	members = slices.CompactFunc(members, func(a, b proctree.Process) bool { return a.PID == b.PID })
	d.mu.Lock()
	d.known = slices.Clone(members)
	d.mu.Unlock()
	return members, nil
}

func nameless(pids []int) (rows []proctree.Process) {
	for _, pid := range pids {
		rows = append(rows, proctree.Process{ID: proctree.ID{PID: pid}, State: proctree.Unknown})
	}
	return rows
}

// pids returns the PIDs of the members, in the kernel's order: in each cgroup,
// whoever has come later is listed later, as far as is known (css_task_iter in
// kernel/cgroup/cgroup.c). So parents are signalled first: a shell whose child is
// gone before it has the signal itself goes on to its next command. Zombies are not
// listed, unless other threads than the first one live; one that is being moved may
// be listed twice.
//
// If there is no descriptor for those below d, it returns those in d, if there are
// any.
func (d *Dir) pids() ([]int, error) {
	pids, err := d.leaders()
	if len(pids) == 0 && err == nil {
		if now, serr := d.status(); serr == nil && !now.empty() {
			return d.everyone()
		}
	}
	return pids, err
}

// everyone returns what pids returns, and the PIDs of processes that are listed
// nowhere: the first thread of such a process has ended in a cgroup that the
// process has left since, or that has been removed. To the kernel it is a member,
// as its other threads are. This takes a look at each thread.
func (d *Dir) everyone() ([]int, error) {
	pids, err := d.leaders()
	if err != nil {
		return nil, err
	}
	known := make(map[int]bool, len(pids))
	for _, pid := range pids {
		known[pid] = true
	}
	add := func(dir int, _ string) error {
		b, err := readAt(dir, "cgroup.threads")
		if err != nil {
			return d.failed("read", "…/cgroup.threads", err)
		}
		tids, err := parseProcs(b)
		for _, tid := range tids {
			if known[tid] {
				continue
			}
			known[tid] = true
			if pid := processOf(tid); pid == tid || !known[pid] {
				known[pid] = true
				pids = append(pids, pid)
			}
		}
		return err
	}
	if err = add(d.fd, ""); err == nil {
		err = d.walk(add, nil)
	}
	if gone(err) || exhausted(err) && len(pids) > 0 {
		err = nil
	}
	return pids, err
}

// leaders is pids by way of cgroup.procs.
func (d *Dir) leaders() ([]int, error) {
	pids, err := d.listed()
	if err != nil {
		if gone(err) {
			err = nil
		}
		return nil, err
	}
	err = d.walk(func(dir int, name string) error {
		b, err := readAt(dir, "cgroup.procs")
		if errors.Is(err, unix.EOPNOTSUPP) {
			return nil // a threaded cgroup: its processes are listed further up
		}
		if err != nil {
			return d.failed("read", "…/"+name+"/cgroup.procs", err)
		}
		below, err := parseProcs(b)
		if err != nil {
			return fmt.Errorf("%s/…/%s: %w", d.path, name, err)
		}
		pids = append(pids, below...)
		return nil
	}, nil)
	if exhausted(err) && len(pids) > 0 {
		err = nil
	}
	return pids, err
}

// listed returns the PIDs of those that are in d itself.
func (d *Dir) listed() ([]int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	fd, err := d.heldFD(procsFile)
	if err != nil {
		return nil, err
	}
	// The kernel has one position for all who read by this descriptor.
	b, err := readAll(fd)
	if err == unix.EOPNOTSUPP {
		return d.ofThreads()
	}
	if err != nil {
		return nil, d.failed("read", "cgroup.procs", err)
	}
	pids, err := parseProcs(b)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", d.path, err)
	}
	return pids, nil
}

// ofThreads is listed for a d that has been made threaded: its processes are listed
// with those of the cgroups around it, but its threads are its own.
func (d *Dir) ofThreads() ([]int, error) {
	b, err := readAt(d.fd, "cgroup.threads")
	if err != nil {
		return nil, d.failed("read", "cgroup.threads", err)
	}
	tids, err := parseProcs(b)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", d.path, err)
	}
	for i, tid := range tids {
		tids[i] = processOf(tid)
	}
	slices.Sort(tids)
	return slices.Compact(tids), nil
}

// processOf returns the PID of a thread's process, or the thread's own number where
// that cannot be found: a signal to that number goes to the process as well.
func processOf(tid int) int {
	b, err := readAt(unix.AT_FDCWD, fmt.Sprintf("/proc/%d/status", tid))
	if err != nil {
		return tid
	}
	_, after, _ := bytes.Cut(b, []byte("\nTgid:\t"))
	number, _, _ := bytes.Cut(after, []byte("\n"))
	if pid, err := strconv.Atoi(string(number)); err == nil && pid > 0 {
		return pid
	}
	return tid
}

func setOf(pids []int, err error) (map[int]bool, error) {
	set := make(map[int]bool, len(pids))
	for _, pid := range pids {
		set[pid] = true
	}
	return set, err
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
	for range maxPasses {
		// A process whose first thread has ended is listed here for as long as it
		// lives.
		if now, err := d.status(); err != nil || now.empty() {
			return err
		}
		pids, err := d.pids()
		if err != nil {
			return err
		}
		if len(pids) == 0 {
			return d.awaitEmpty()
		}
		for _, pid := range pids {
			if err := other.writeHeld(entryFile, strconv.Itoa(pid)); err != nil && !errors.Is(err, unix.ESRCH) {
				return err
			}
		}
	}
	return fmt.Errorf("there are new ones after %d passes", maxPasses)
}
