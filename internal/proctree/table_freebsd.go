package proctree

import (
	"errors"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/corral-run/corral/internal/procctl"
)

// parentRecycled: the table is not read under a single lock.
const parentRecycled = true

// everyProcess: kern.proc.all would have a row for each thread.
const everyProcess = "kern.proc.proc"

func rows(name string, args ...int) ([]Process, error) {
	boot, err := bootTime()
	for err == nil {
		var b []byte
		if b, err = sysctl(name, args...); err != nil {
			break
		}
		// The rows are relative to the time of boot: if the clock was set while
		// they were read, they are of no use.
		before := boot
		if boot, err = bootTime(); err != nil || !boot.Equal(before) {
			continue
		}
		table, err := parseFreeBSD(b, boot)
		for i := range table {
			table[i].RSS *= int64(os.Getpagesize())
		}
		return table, err
	}
	return nil, err
}

func bootTime() (time.Time, error) {
	tv, err := unix.SysctlTimeval("kern.boottime")
	if err != nil {
		return time.Time{}, os.NewSyscallError("sysctl kern.boottime", err)
	}
	return time.Unix(tv.Unix()), nil
}

// arguments returns nil for zombies and kernel processes, and where the caller
// may not see them.
func arguments(pid int) []string {
	b, err := sysctl("kern.proc.args", pid)
	if err != nil {
		return nil
	}
	return parseCmdline(b)
}

// descendants asks the kernel for what a reaper has. The list is complete. The
// table need not be, as it is not read under a single lock.
func descendants(pid int) ([]Process, error) {
	table, err := verified(func() ([]int, error) { return procctl.Descendants(pid) }, row)
	if errors.Is(err, unix.ESRCH) { // it is no reaper
		return descendantsByTable(pid)
	}
	return table, err
}
