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
	return descend(pid, func(proc *procfs) ([]int, error) { return proc.children(pid, 0) })
}

// BelowMainThread is Below where only the children of pid's main thread count, and
// others that the caller knows. The main thread gets what the process adopts, and
// the children of its threads that have ended (find_new_reaper in the kernel's
// kernel/exit.c). Without CONFIG_PROC_CHILDREN it is Below.
func BelowMainThread(pid int, others ...int) ([]Process, error) {
	if !possible(pid) {
		return nil, nil
	}
	rows, err := descend(pid, func(proc *procfs) ([]int, error) {
		pids, err := proc.children(pid, 1)
		return append(pids, others...), err
	})
	return living(pid, rows, err)
}

// descend walks down from pid, whose children are listed by first.
func descend(pid int, first func(*procfs) ([]int, error)) ([]Process, error) {
	const most = 10 // for a tree that changes all the time
	began := time.Now()
	proc, err := openProc()
	if err != nil {
		return nil, err
	}
	defer proc.close()
	zombies := make(map[int]bool)
	for i := 1; i < most && time.Since(began) < longWalk; i++ {
		found, moved, err := proc.walk(pid, first, zombies)
		switch {
		case errors.Is(err, errNoChildren):
			return descendantsByTable(pid)
		case err != nil || !moved:
			return found, err
		}
	}
	found, _, err := proc.walk(pid, first, zombies)
	return found, err
}

// longWalk is how long a look may take at most to be repeated: if it took longer,
// the tree is large, and will have changed again.
const longWalk = 100 * time.Millisecond

// walk returns the descendants of pid that it comes across. moved says that
// there may be others. It adds to zombies those that it sees.
func (proc *procfs) walk(pid int, first func(*procfs) ([]int, error), zombies map[int]bool) (found []Process, moved bool, err error) {
	known := map[int]bool{pid: true}
	children, err := first(proc)
	for i := 0; ; i++ {
		switch {
		case errors.Is(err, ErrGone):
			moved = true
		case err != nil && !errors.Is(err, os.ErrPermission):
			return nil, false, err
		}
		for _, child := range children {
			if known[child] {
				continue
			}
			p, err := proc.stat(child)
			switch {
			case errors.Is(err, os.ErrPermission): // its PID is all there is to know
				p = Process{ID: ID{PID: child}, State: Unknown}
			case err != nil || !known[p.PPID]: // it has ended, or its parent has
				moved = true
				continue
			case p.Threads > 1 && threadsAreChildren() && proc.isThread(child):
				continue
			case p.State == Zombie && !zombies[child]:
				zombies[child], moved = true, true
			}
			known[child] = true
			found = append(found, p)
		}
		if i == len(found) {
			return found, moved, nil
		}
		children, err = proc.children(found[i].PID, found[i].Threads)
	}
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
	pids, err := proc.children(pid, 0)
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

// children returns the children of all threads of pid. A caller that knows that
// there is one thread says so, and saves the look for others.
func (proc *procfs) children(pid, threads int) ([]int, error) {
	id := strconv.Itoa(pid)
	pids, err := proc.childrenOf(nil, id, id)
	if err != nil || threads == 1 {
		return pids, err
	}
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
