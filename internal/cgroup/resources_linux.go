package cgroup

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Controllers are those that limits and accounting are made of.
var Controllers = []string{"cpu", "io", "memory", "pids"}

// Available returns the controllers that d has, and so could hand on.
func (d *Dir) Available() ([]string, error) { return d.controllers("cgroup.controllers") }

// HandedOn returns the controllers that the cgroups in d have.
func (d *Dir) HandedOn() ([]string, error) { return d.controllers("cgroup.subtree_control") }

func (d *Dir) controllers(file string) ([]string, error) {
	b, err := d.read(file)
	if err != nil {
		return nil, fmt.Errorf("cgroup: %w", err)
	}
	return strings.Fields(string(b)), nil
}

// HandOn gives the cgroups in d a controller, for good: see Mend. The error wraps
// EBUSY if there is a process in d itself, and ENOENT if d does not have it.
func (d *Dir) HandOn(controller string) error {
	if err := d.write("cgroup.subtree_control", "+"+controller); err != nil {
		return fmt.Errorf("cgroup: %w", err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.meant = append(d.meant, controller)
	return nil
}

func (d *Dir) isMeant(controller string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Contains(d.meant, controller)
}

// IsRoot reports whether d is the root of the hierarchy, which alone may have
// processes and hand controllers on at the same time.
func (d *Dir) IsRoot() bool {
	return unix.Faccessat(d.fd, "cgroup.type", unix.F_OK, 0) == unix.ENOENT && !d.removed()
}

// Around returns the path of the cgroup around d, or "" if d is the topmost one that
// can be seen.
func (d *Dir) Around() string {
	around := filepath.Dir(d.path)
	var fs unix.Statfs_t
	if unix.Statfs(around, &fs) != nil || fs.Type != unix.CGROUP2_SUPER_MAGIC {
		return ""
	}
	return around
}

// Delegated reports whether d is marked as systemd marks what it does not look
// after: "Delegate=yes" (systemd.resource-control(5)), by an extended attribute, of
// which root alone may see the older one.
func (d *Dir) Delegated() bool {
	for _, name := range []string{"user.delegate", "trusted.delegate"} {
		var b [8]byte
		if n, err := unix.Fgetxattr(d.fd, name, b[:]); err == nil && string(b[:n]) == "1" {
			return true
		}
	}
	return false
}

// MarkDelegated marks d as Delegated looks for it.
func (d *Dir) MarkDelegated() error {
	if err := unix.Fsetxattr(d.fd, "user.delegate", []byte("1"), 0); err != nil {
		return fmt.Errorf("cgroup: %w", d.failed("setxattr", "", err))
	}
	return nil
}

// Owned reports whether d belongs to the calling process's user, and the cgroup
// around it does not: d is where something was handed over to that user.
func (d *Dir) Owned() bool {
	mine := func(path string) bool {
		var st unix.Stat_t
		return unix.Stat(path, &st) == nil && int(st.Uid) == os.Geteuid()
	}
	around := d.Around()
	return mine(d.path) && mine(d.path+"/cgroup.procs") && (around == "" || !mine(around))
}

// Limits are what Limit sets. Zero is no limit.
type Limits struct {
	Memory int64 // in bytes
	PIDs   int
	CPUs   float64
}

// Limit limits what the members may use together. The members of a run that is out
// of memory are killed all at once.
func (d *Dir) Limit(l Limits) error {
	set := func(file, format string, a ...any) error { return d.write(file, fmt.Sprintf(format, a...)) }
	var errs []error
	if l.Memory > 0 {
		err := set("memory.swap.max", "0")
		if gone(err) && !swaps() { // a kernel without swap has no such file
			err = nil
		}
		errs = append(errs, err, set("memory.oom.group", "1"), set("memory.max", "%d", l.Memory))
	}
	if l.PIDs > 0 {
		errs = append(errs, set("pids.max", "%d", l.PIDs))
	}
	if l.CPUs > 0 {
		errs = append(errs, set("cpu.max", "%s", formatCPUs(l.CPUs)))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("cgroup: limit: %w", err)
	}
	return nil
}

// swaps reports whether there is swap space, as far as is known: its users would not
// be limited.
func swaps() bool {
	b, err := os.ReadFile("/proc/swaps")
	return err == nil && strings.Count(string(b), "\n") > 1
}

// Usage returns what the members have used since the cgroup was made.
func (d *Dir) Usage() Usage {
	var u Usage
	text := func(file string) []byte {
		b, err := d.read(file)
		if err != nil {
			return nil
		}
		return b
	}
	u.User, u.System = parseCPUStat(text("cpu.stat"))
	u.PeakMemory = parseAmount(text("memory.peak"))
	u.PeakPIDs = parseAmount(text("pids.peak"))
	if b, err := d.read("io.stat"); err == nil {
		u.Read, u.Written = parseIOStat(b)
	}
	return u
}

// KilledForMemory reports whether the kernel has killed a member for want of memory,
// because d's limit was reached, or as one of d itself was chosen when there was none
// left further out; and whether it was the limit. What the limit of a cgroup below d has done does not count.
func (d *Dir) KilledForMemory() (killed, limit bool) {
	all, err := d.read("memory.events")
	if err != nil {
		return false, false
	}
	own, err := d.read("memory.events.local") // Linux 5.2
	if err != nil {
		own = all
	}
	return outOfMemory(all, own)
}
