package cgroups

import (
	"os"
	"strings"
	"sync"
	"time"

	"github.com/corral-run/corral/internal/child"
	"github.com/corral-run/corral/internal/proctree"
	"golang.org/x/sys/unix"
)

// allBirths are those of all runs of this process.
var allBirths births

// births tells the leaders of runs from other children of the owner that are in its
// control groups.
type births struct {
	mu       sync.Mutex
	underWay int            // starts whose leader is not among leaders yet
	leaders  map[int]uint64 // start time by PID, until they have been reaped
}

func (b *births) begin() {
	b.mu.Lock()
	b.underWay++
	b.mu.Unlock()
}

// end ends what begin has begun. There is no leader if the start has failed.
func (b *births) end(id proctree.ID, started bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.underWay--
	if started {
		if b.leaders == nil {
			b.leaders = make(map[int]uint64)
		}
		b.leaders[id.PID] = id.Start
	}
}

// forget is for a leader that has been reaped, or is not in the owner's control
// groups any more.
func (b *births) forget(id proctree.ID) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.leaders[id.PID] == id.Start { // else the PID is another leader's by now
		delete(b.leaders, id.PID)
	}
}

// buryPause is how long siblings stay zombies at most while there are other runs.
const buryPause = 100 * time.Millisecond

// burySiblings reaps the children that members have made the owner's: siblings of
// the leader, made by clone(2) with CLONE_PARENT. The owner's program knows nothing
// of them. Without this they would be zombies for as long as it lives.
//
// While there are other runs, the child that has ended is most likely a leader that
// is about to be reaped. To look at all children whenever one of many runs ends
// would take longer than all else, so they are looked at once for all.
func (o *ownerDir) burySiblings() {
	if pid, _, _, err := child.Peek(0); err != nil || pid == 0 {
		return // as nearly always
	}
	o.mu.Lock()
	alone := o.inUse == 1
	o.mu.Unlock()
	if !alone || !o.bury() {
		o.buryLater()
	}
}

// buryLater has them looked at once the pause is over, however many ask for it.
func (o *ownerDir) buryLater() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.burying {
		return
	}
	o.burying = true
	time.AfterFunc(buryPause, func() {
		o.mu.Lock()
		o.burying = false
		o.mu.Unlock()
		if !o.bury() {
			o.buryLater()
		}
	})
}

// bury reaps the children that have ended in a run's control group, or one below,
// and are not leaders. It reports whether it could tell.
//
// A zombie is still in its control group, which tells whose it was. A process group
// does not: the program itself may have put a child into it. Kernels before 5.4
// cannot wait for a process and exclude a later one with its PID, so there the
// zombies stay.
func (o *ownerDir) bury() bool {
	o.mu.Lock()
	name := o.name
	o.mu.Unlock()
	pids, err := proctree.ChildPIDs(os.Getpid())
	if err != nil {
		return true // as far as can be
	}
	told := true
	for _, pid := range pids {
		if ended, _, _, err := child.Peek(pid); err != nil || ended != pid {
			continue
		}
		fd, err := unix.PidfdOpen(pid, 0)
		if err != nil {
			continue
		}
		if wasMember(pid, name) {
			told = allBirths.reapSibling(pid, fd) && told
		}
		unix.Close(fd)
	}
	return told
}

// reapSibling reaps the process unless it is a leader, or may be one. It reports
// whether that is known.
func (b *births) reapSibling(pid, fd int) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	_, leads := b.leaders[pid]
	switch {
	case leads:
	case b.underWay > 0:
		return false
	default:
		unix.Waitid(unix.P_PIDFD, fd, nil, unix.WEXITED|unix.WNOHANG|unix.WALL, nil)
	}
	return true
}

// wasMember reports whether the process, alive or not, is below the owner's
// directory, whose name, with the owner's PID and start time, is unique among those
// of which this process can have children. A later one has a number after it.
func wasMember(pid int, name string) bool {
	b, err := proctree.ReadFile(pid, "cgroup")
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(b)) {
		if path, ok := strings.CutPrefix(line, "0::"); ok {
			_, below, found := strings.Cut(path, "/"+name)
			return found && strings.Contains(below, "/")
		}
	}
	return false
}
