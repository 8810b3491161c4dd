package proctree

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// descendants walks down from pid by the lists of children that /proc has for
// every thread (proc_pid_task_children(5)).
//
// The children of a process that ends during the walk go to an ancestor, whose
// list has been read: then another walk is needed. A zombie shows that this may
// have happened, but not when, so it counts only if the walk before did not have
// it.
func descendants(pid int) ([]Process, error) {
	return descend(pid, nil, func(proc *procfs) ([]int, error) { return proc.children(pid) })
}

// BelowMainThread is Below where only the children of pid's main thread count, and
// others that the caller knows. The main thread gets what the process adopts, and
// the children of its threads that have ended (find_new_reaper in the kernel's
// kernel/exit.c). Without CONFIG_PROC_CHILDREN it is Below.
func BelowMainThread(pid int, others ...int) ([]Process, error) {
	if !possible(pid) {
		return nil, nil
	}
	rows, err := descend(pid, nil, func(proc *procfs) ([]int, error) {
		pids, err := proc.childrenOfFirst(pid)
		return append(pids, others...), err
	})
	return living(pid, rows, err)
}

// MoreBelowMainThread is BelowMainThread for one who knows some of the rows, and
// looks for others: it takes these over where the processes still have their PIDs.
// So what can change in them, their ends included, may be out of date.
func MoreBelowMainThread(pid int, known []Process) ([]Process, error) {
	if !possible(pid) {
		return nil, nil
	}
	met := make(map[int]Process, len(known))
	for _, p := range known {
		met[p.PID] = p
	}
	rows, err := descend(pid, met, func(proc *procfs) ([]int, error) { return proc.childrenOfFirst(pid) })
	return living(pid, rows, err)
}

// WalkMainThread is BelowMainThread with a single walk. Those whose parents end
// during it may be missing.
func WalkMainThread(pid int) ([]Process, error) {
	proc, err := openProc()
	if err != nil {
		return nil, err
	}
	defer proc.close()
	w := walk{pid: pid, first: func(proc *procfs) ([]int, error) { return proc.childrenOfFirst(pid) }, zombies: make(map[int]bool)}
	rows, _, err := w.down(proc)
	if errors.Is(err, errNoChildren) {
		rows, err = descendantsByTable(pid)
	}
	return living(pid, rows, err)
}

// descend walks down from pid, whose children are listed by first.
func descend(pid int, met map[int]Process, first func(*procfs) ([]int, error)) ([]Process, error) {
	const most = 10 // for a tree that changes all the time
	began := time.Now()
	proc, err := openProc()
	if err != nil {
		return nil, err
	}
	defer proc.close()
	w := walk{pid: pid, met: met, first: first, zombies: make(map[int]bool)}
	for i := 1; i < most && time.Since(began) < longWalk; i++ {
		found, moved, err := w.down(proc)
		switch {
		case errors.Is(err, errNoChildren):
			return descendantsByTable(pid)
		case err != nil || !moved:
			return found, err
		}
	}
	found, _, err := w.down(proc)
	return found, err
}

// longWalk is how long a look may take at most to be repeated: if it took longer,
// the tree is large, and will have changed again.
const longWalk = 100 * time.Millisecond

// walk is a way down from pid, to be gone again and again.
type walk struct {
	pid     int
	first   func(*procfs) ([]int, error) // lists the children of pid
	met     map[int]Process              // rows that are known
	zombies map[int]bool                 // that have been seen
}

// down returns the descendants of pid that it comes across, generation by
// generation. moved says that there may be others.
func (w walk) down(proc *procfs) (found []Process, moved bool, err error) {
	known := map[int]bool{w.pid: true}
	generation, err := w.first(proc)
	if errors.Is(err, ErrGone) {
		moved = true
	} else if err != nil && !errors.Is(err, os.ErrPermission) {
		return nil, false, err
	}
	for len(generation) > 0 {
		met := make([]encounter, len(generation))
		proc.share(len(generation), func(proc *procfs, i int) { met[i] = w.meet(proc, generation[i]) })
		var next []int
		for i, m := range met {
			child, p := generation[i], m.row
			switch {
			case known[child]:
				continue
			case errors.Is(m.err, os.ErrPermission): // its PID is all there is to know
				p = Process{ID: ID{PID: child}, State: Unknown}
			case m.err != nil || !m.again && !known[p.PPID]: // it has ended, or its parent has
				moved = true
				continue
			case p.Threads > 1 && threadsAreChildren() && proc.isThread(child):
				continue
			case p.State == Zombie && !w.zombies[child]:
				w.zombies[child], moved = true, true
			}
			known[child] = true
			found, next = append(found, p), append(next, m.children...)
			if errors.Is(m.childErr, ErrGone) {
				moved = true
			} else if m.childErr != nil && !errors.Is(m.childErr, os.ErrPermission) {
				return nil, false, m.childErr
			}
		}
		generation = next
	}
	return found, moved, nil
}

// encounter is what a walk learns of one process.
type encounter struct {
	row      Process
	err      error
	again    bool // the row was known
	children []int
	childErr error
}

// meet looks at pid. The children come first: they were all there if the process is
// alive after that.
func (w walk) meet(proc *procfs, pid int) (m encounter) {
	m.children, m.childErr = proc.childrenOfFirst(pid)
	if known, ok := w.met[pid]; ok && m.childErr == nil && proc.still(known) {
		m.row, m.again = known, true
		m.row.Threads = proc.threads(pid)
	} else {
		m.row, m.err = proc.stat(pid)
	}
	if m.row.Threads != 1 && m.childErr == nil {
		m.children, m.childErr = proc.childrenOfOthers(m.children, pid)
	}
	return m
}

// threads returns how many threads pid has, or 0 if that is not known: the
// directory of them has so many links more than an empty one (proc_task_getattr in
// the kernel's fs/proc/base.c).
func (proc *procfs) threads(pid int) int {
	const empty = 2
	var st unix.Stat_t
	if unix.Fstatat(proc.fd, strconv.Itoa(pid)+"/task", &st, 0) != nil {
		return 0
	}
	return max(0, int(st.Nlink)-empty)
}

// threadsAreChildren: gVisor lists the threads of a child among the children.
var threadsAreChildren = sync.OnceValue(func() bool {
	var name unix.Utsname
	return unix.Uname(&name) == nil && strings.Contains(unix.ByteSliceToString(name.Release[:]), "gvisor")
})

// isThread reports whether the number is that of a thread other than its process's
// first.
func (proc *procfs) isThread(pid int) bool {
	status, err := proc.read(pid, "status")
	if err != nil {
		return false
	}
	tgid, err := parseTgid(status)
	return err == nil && tgid != pid
}

func childPIDs(pid int) ([]int, error) {
	proc, err := openProc()
	if err != nil {
		return nil, err
	}
	defer proc.close()
	pids, err := proc.children(pid)
	if errors.Is(err, errNoChildren) {
		return childPIDsByTable(pid)
	}
	return pids, err
}

// ThreadChildPIDs returns the children of one thread of the calling process,
// zombies included: none if it has ended, or if the system does not list them.
func ThreadChildPIDs(tid int) ([]int, error) {
	proc, err := openProc()
	if err != nil {
		return nil, fmt.Errorf("children of thread %d: %w", tid, err)
	}
	defer proc.close()
	pids, err := proc.childrenOf(nil, strconv.Itoa(os.Getpid()), strconv.Itoa(tid))
	if err != nil && !errors.Is(err, ErrGone) && !errors.Is(err, errNoChildren) {
		return nil, fmt.Errorf("children of thread %d: %w", tid, err)
	}
	return pids, nil
}

// MainThreadChildren are the children of the calling process's main thread: see
// BelowMainThread. The zero value is ready for use, by one goroutine. Its file
// stays open, which spares most of what a look costs.
type MainThreadChildren struct {
	file int    // below 0 if there is none
	buf  []byte // nil before the first look
}

// List returns the children's PIDs, zombies included.
func (c *MainThreadChildren) List() ([]int, error) {
	pids, err := c.list()
	if errors.Is(err, errNoChildren) {
		pids, err = childPIDsByTable(os.Getpid())
	}
	if err != nil {
		return nil, fmt.Errorf("children of this process: %w", err)
	}
	return pids, nil
}

func (c *MainThreadChildren) list() ([]int, error) {
	if c.buf == nil {
		proc, err := openProc()
		if err != nil {
			return nil, err
		}
		defer proc.close()
		id := strconv.Itoa(os.Getpid())
		if c.file, err = proc.openChildren(id, id); err != nil && !errors.Is(err, errNoChildren) {
			return nil, err
		}
		c.buf = make([]byte, 1<<10)
	}
	if c.file < 0 {
		return nil, errNoChildren
	}
	return readChildren(nil, c.file, c.buf)
}

// Close closes the file.
func (c *MainThreadChildren) Close() error {
	if c.buf == nil || c.file < 0 {
		return nil
	}
	c.buf = nil
	return os.NewSyscallError("close", unix.Close(c.file))
}

// errNoChildren: the kernel has been built without CONFIG_PROC_CHILDREN.
var errNoChildren = errors.New("the kernel does not list children")

// children returns the children of all threads of pid.
func (proc *procfs) children(pid int) ([]int, error) {
	pids, err := proc.childrenOfFirst(pid)
	if err != nil {
		return pids, err
	}
	return proc.childrenOfOthers(pids, pid)
}

// childrenOfFirst returns the children of pid's first thread.
func (proc *procfs) childrenOfFirst(pid int) ([]int, error) {
	id := strconv.Itoa(pid)
	return proc.childrenOf(nil, id, id)
}

// childrenOfOthers appends to pids the children of those of pid's threads that are
// not its first.
func (proc *procfs) childrenOfOthers(pids []int, pid int) ([]int, error) {
	id := strconv.Itoa(pid)
	fd, err := unix.Openat(proc.fd, id+"/task", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return pids, procError("open", id+"/task", err)
	}
	defer unix.Close(fd)
	tids, err := numbersIn(fd)
	for _, tid := range tids {
		if tid != pid && err == nil {
			pids, err = proc.childrenOf(pids, id, strconv.Itoa(tid))
			if errors.Is(err, ErrGone) {
				err = nil // the thread
			}
		}
	}
	return pids, err
}

func (proc *procfs) childrenOf(pids []int, pid, tid string) ([]int, error) {
	fd, err := proc.openChildren(pid, tid)
	if err != nil {
		return pids, err
	}
	defer unix.Close(fd)
	return readChildren(pids, fd, proc.buf)
}

func (proc *procfs) openChildren(pid, tid string) (fd int, err error) {
	path := pid + "/task/" + tid + "/children"
	fd, err = unix.Openat(proc.fd, path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err == unix.ENOENT && unix.Faccessat(proc.fd, pid+"/task/"+tid, unix.F_OK, 0) == nil &&
		unix.Faccessat(unix.AT_FDCWD, "/proc/thread-self/children", unix.F_OK, 0) != nil {
		return -1, errNoChildren
	}
	if err != nil {
		return -1, procError("open", path, err)
	}
	return fd, nil
}

func readChildren(pids []int, fd int, buf []byte) ([]int, error) {
	// Unlike the others, this file does not come whole.
	for list := []byte(nil); ; {
		n, err := unix.Pread(fd, buf, int64(len(list)))
		if err != nil {
			return pids, procError("read", "children", err)
		}
		if n == 0 {
			return parseChildren(pids, list), nil
		}
		list = append(list, buf[:n]...)
	}
}
