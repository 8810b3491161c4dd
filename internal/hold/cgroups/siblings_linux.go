package cgroups

import (
	"os"
	"path/filepath"
	"strings"

	"github.com/corral-run/corral/internal/child"
	"github.com/corral-run/corral/internal/proctree"
	"golang.org/x/sys/unix"
)

// burySiblings reaps the children that members have given to the owner: siblings of the
// leader, made by clone(2) with CLONE_PARENT. The owner's program knows nothing of them,
// and they would stay zombies for as long as it lives.
//
// A zombie is still in its control group, which tells whose it was. Under a process group
// nothing does: the program itself may have put a child into it. Kernels before 5.4 cannot
// wait for one process and no later one with its PID, so there they stay.
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

// wasMember reports whether the process, which may have ended, is in the run's control group or
// one below. The owner's directory has its PID and start time in its name.
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
