package cgroups

import (
	"os"
	"path/filepath"
	"strings"

	"github.com/corral-run/corral/internal/child"
	"github.com/corral-run/corral/internal/proctree"
	"golang.org/x/sys/unix"
)

// burySiblings reaps the children that members have made the owner's: siblings of
// the leader, made by clone(2) with CLONE_PARENT. The owner's program knows nothing
// of them. Without this they would be zombies for as long as it lives.
//
// A zombie is still in its control group, which tells whose it was. A process group
// does not: the program itself may have put a child into it. Kernels before 5.4
// cannot wait for a process and exclude a later one with its PID, so there the
// zombies stay.
func (c *containment) burySiblings() {
	if pid, _, _, err := child.Peek(0); err != nil || pid == 0 {
		return // as nearly always
	}
	pids, err := proctree.ChildPIDs(os.Getpid())
	if err != nil {
		return
	}
	for _, pid := range pids {
		fd, err := unix.PidfdOpen(pid, 0)
		if err != nil {
			continue
		}
		if pid != c.id.PID && c.wasMember(pid) {
			unix.Waitid(unix.P_PIDFD, fd, nil, unix.WEXITED|unix.WNOHANG|unix.WALL, nil)
		}
		unix.Close(fd)
	}
}

// wasMember reports whether the process, alive or not, is in the run's control
// group or one below. The name of the owner's directory has the owner's PID and
// start time, and so is unique.
func (c *containment) wasMember(pid int) bool {
	b, err := proctree.ReadFile(pid, "cgroup")
	if err != nil {
		return false
	}
	home, dir := filepath.Split(c.dir.Path())
	own := "/" + filepath.Base(home) + "/" + dir + "/"
	for line := range strings.Lines(string(b)) {
		if path, ok := strings.CutPrefix(line, "0::"); ok {
			path = strings.TrimSuffix(strings.TrimSuffix(path, "\n"), " (deleted)")
			return strings.Contains(path+"/", own)
		}
	}
	return false
}
