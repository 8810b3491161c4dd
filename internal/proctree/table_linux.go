package proctree

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// parentRecycled: the rows of a table are not read at the same moment, so that
// the parent may be gone, and its PID taken over, when its row is read.
const parentRecycled = true

// userHZ is the unit of times in /proc/PID/stat per second. It is part of the
// kernel's interface: 100 on every architecture that Go supports, whatever the
// kernel's own tick.
const userHZ = 100

func snapshot() ([]Process, error) { return whole((*procfs).row) }

// survey leaves out what takes the most time, and what a process can make long.
func survey() ([]Process, error) { return whole((*procfs).stat) }

// whole returns the row of every process.
func whole(row func(*procfs, int) (Process, error)) ([]Process, error) {
	proc, err := openProc()
	if err != nil {
		return nil, err
	}
	defer proc.close()
	pids, err := proc.pids()
	if err != nil {
		return nil, err
	}
	return proc.table(pids, row)
}

// Select returns the rows of the given PIDs, which must not be those of threads,
// without User and Args (see Details). Of a process that the system hides from the
// caller (hidepid) the PID alone is known.
func Select(pids []int) ([]Process, error) {
	proc, err := openProc()
	if err != nil {
		return nil, err
	}
	defer proc.close()
	rows, err := proc.table(pids, func(proc *procfs, pid int) (Process, error) {
		p, err := proc.stat(pid)
		if errors.Is(err, os.ErrPermission) {
			return Process{ID: ID{PID: pid}, State: Unknown}, nil
		}
		return p, err
	})
	if err != nil {
		return nil, err
	}
	return rows, nil
}

func details(rows []Process) {
	var lacking []int
	for i, p := range rows {
		if p.Args == nil {
			lacking = append(lacking, i)
		}
	}
	if len(lacking) == 0 {
		return
	}
	proc, err := openProc()
	if err != nil {
		return
	}
	defer proc.close()
	proc.table(lacking, func(proc *procfs, i int) (Process, error) {
		p := &rows[i]
		if now, err := proc.row(p.PID); err == nil && now.ID == p.ID {
			p.User, p.Args, p.RSS = now.User, now.Args, now.RSS
		}
		return *p, nil
	})
}

func lookup(pid int) (Process, error) { return lookUp(pid, (*procfs).row) }

func brief(pid int) (Process, error) { return lookUp(pid, (*procfs).owned) }

func lookUp(pid int, row func(*procfs, int) (Process, error)) (Process, error) {
	proc, err := openProc()
	if err != nil {
		return Process{}, err
	}
	defer proc.close()
	// A thread's number can be opened too, though it is not listed.
	status, err := proc.read(pid, "status")
	if err != nil {
		return Process{}, err
	}
	tgid, err := parseTgid(status)
	if err != nil {
		return Process{}, err
	}
	if tgid != pid {
		return Process{}, ErrGone
	}
	return row(proc, pid)
}

// group reads /proc once for the PIDs and then asks for each. A member that ends
// in between may have started another one, which is not among them: then, if
// nobody else is found, another look is needed. As in descendants, a zombie
// counts only if the look before did not have it.
func group(pgid int) ([]Process, error) {
	const most = 20 // on a machine where something ends all the time
	began := time.Now()
	proc, err := openProc()
	if err != nil {
		return nil, err
	}
	defer proc.close()
	zombies := make(map[int]bool)
	for i := 1; i < most && time.Since(began) < longWalk; i++ {
		found, moved, err := proc.group(pgid, zombies)
		if err != nil || !moved {
			return found, err
		}
	}
	found, _, err := proc.group(pgid, zombies)
	return found, err
}

// group looks once, at the youngest first, as they are those that may be about to
// end. moved says that a member may have been missed, and that none is alive of
// those that were not.
func (proc *procfs) group(pgid int, zombies map[int]bool) (members []Process, moved bool, err error) {
	pids, err := proc.pids()
	if err != nil {
		return nil, false, err
	}
	alive := false
	for _, pid := range slices.Backward(pids) {
		// One cheap system call spares all others for most processes. If it fails
		// for another reason than that the process is gone, /proc decides.
		of, err := unix.Getpgid(pid)
		if err == unix.ESRCH {
			moved = true
		}
		if err == unix.ESRCH || err == nil && of != pgid {
			continue
		}
		p, err := proc.stat(pid)
		switch {
		case err == nil:
			members = append(members, p)
			if p.Alive() {
				alive = true
			} else if !zombies[pid] {
				zombies[pid], moved = true, true
			}
		case errors.Is(err, ErrGone):
			moved = true
		case !errors.Is(err, os.ErrPermission):
			return nil, false, err
		}
	}
	return members, moved && !alive, nil
}

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

// BelowMainThread is Below where only the main thread of pid has children that
// count, but for others that the caller knows. What a process adopts goes to the main
// thread, and so does what a thread has started that has ended (find_new_reaper in the
// kernel's kernel/exit.c). Without CONFIG_PROC_CHILDREN it is Below.
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

// longWalk is how long a look may have taken for which there is another one: the tree
// is large then, and will have changed again.
const longWalk = 100 * time.Millisecond

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

// isThread reports whether the number is one of a thread that is not its process's
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

// ThreadChildPIDs returns the children of one thread of the calling process, zombies
// included: none if it has ended, or if the system does not list them.
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
// BelowMainThread. The zero value is ready for use, by one goroutine. Its file stays
// open, which spares most of what a look costs.
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

// Close closes the file.
func (c *MainThreadChildren) Close() error {
	if c.buf == nil || c.file < 0 {
		return nil
	}
	c.buf = nil
	return os.NewSyscallError("close", unix.Close(c.file))
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

// errNoChildren: the kernel has been built without CONFIG_PROC_CHILDREN.
var errNoChildren = errors.New("the kernel does not list children")

// children returns the children of all threads of pid. If it has one thread,
// the caller may say so and save the look for others.
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

func identify(pid int) (ID, error) {
	p, err := glance(pid)
	return p.ID, err
}

// glance returns what one file says of pid, without Started and RSS. It is called
// for every run, so it makes four system calls where stat makes ten.
func glance(pid int) (Process, error) {
	path := strconv.Itoa(pid) + "/stat"
	proc := procfs{fd: int(procKept.Load()) - 1, buf: make([]byte, 1<<10)}
	if proc.fd < 0 {
		proc.fd, path = unix.AT_FDCWD, "/proc/"+path
	}
	b, device, err := proc.readPath(path)
	if err != nil || proc.fd == unix.AT_FDCWD && device != procDevice.Load() {
		return stat(pid) // which makes sure of /proc
	}
	return parseOwnStat(pid, b)
}

// parseOwnStat is parseStat for a file that has to be about pid: another one may
// have been mounted in its place.
func parseOwnStat(pid int, b []byte) (Process, error) {
	p, err := parseStat(b)
	switch {
	case err == nil && p.PID == 0: // gVisor's word for one that has been reaped meanwhile
		err = ErrGone
	case err == nil && p.PID != pid:
		err = fmt.Errorf("/proc/%d shows process %d", pid, p.PID)
	}
	return p, err
}

// procDevice is the device of the file system that has been seen to be the /proc of
// the caller's PID namespace, which a process cannot leave, or 0. Somebody may mount
// another one over it at any time.
var procDevice atomic.Uint64

// procKept is a descriptor of it, plus 1, or 0: see KeepOpen.
var procKept atomic.Int32

// stat returns the row of pid without User and Args.
func stat(pid int) (Process, error) {
	proc, err := openProc()
	if err != nil {
		return Process{}, err
	}
	defer proc.close()
	return proc.stat(pid)
}

// procfs reads /proc, with one descriptor and one buffer for all of it.
type procfs struct {
	fd   int
	kept bool // the descriptor is everybody's
	buf  []byte
	page int64
	boot time.Time
}

// openProc opens /proc and makes sure that it is the one of the caller's PID
// namespace: in a program started in a new PID namespace that has not mounted
// it anew, its numbers would name other processes than system calls do.
func openProc() (*procfs, error) {
	boot, err := bootTime()
	if err != nil {
		return nil, err
	}
	proc := &procfs{fd: int(procKept.Load()) - 1, kept: true, buf: make([]byte, 8<<10), page: int64(os.Getpagesize()), boot: boot}
	if proc.fd >= 0 {
		return proc, nil
	}
	proc.kept = false
	if proc.fd, err = unix.Open("/proc", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0); err != nil {
		return nil, &os.PathError{Op: "open", Path: "/proc", Err: err}
	}
	if err := proc.verify(); err != nil {
		proc.close()
		return nil, err
	}
	return proc, nil
}

// verify returns an error if this is not the root of the right procfs.
func (proc *procfs) verify() error {
	const root = 1 // PROC_ROOT_INO
	var st unix.Stat_t
	if err := unix.Fstat(proc.fd, &st); err != nil {
		return &os.PathError{Op: "stat", Path: "/proc", Err: err}
	}
	if st.Ino == root && uint64(st.Dev) == procDevice.Load() {
		return nil
	}
	var fs unix.Statfs_t
	if err := unix.Fstatfs(proc.fd, &fs); err != nil {
		return &os.PathError{Op: "statfs", Path: "/proc", Err: err}
	}
	if fs.Type != unix.PROC_SUPER_MAGIC || st.Ino != root {
		return errors.New("/proc is not mounted, or something else is in its place")
	}
	// A process that is not in the namespace has no such link.
	n, err := unix.Readlinkat(proc.fd, "self", proc.buf)
	if err != nil || string(proc.buf[:n]) != strconv.Itoa(os.Getpid()) {
		return errors.New("/proc does not show the PID namespace of this process")
	}
	procDevice.Store(uint64(st.Dev))
	return nil
}

func usable() error {
	proc, err := openProc()
	if err != nil {
		return err
	}
	proc.close()
	return nil
}

func keepOpen() error {
	if procKept.Load() > 0 {
		return nil
	}
	proc, err := openProc()
	if err != nil {
		return err
	}
	if !procKept.CompareAndSwap(0, int32(proc.fd)+1) {
		proc.close() // somebody else has been faster
	}
	return nil
}

// startNow returns the start time that a process has which is born now, or 0: the
// kernel reads this clock in fork (copy_process in its kernel/fork.c), and shows it in
// whole ticks, in the time namespace of who looks.
func startNow() uint64 {
	var now unix.Timespec
	if unix.ClockGettime(unix.CLOCK_BOOTTIME, &now) != nil {
		return 0
	}
	return uint64(now.Nano()) / uint64(time.Second/userHZ)
}

// bootTime returns the time to which start times are relative, to within one
// of their ticks, so that it is mostly the same for two tables.
func bootTime() (time.Time, error) {
	var since unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &since); err != nil {
		return time.Time{}, os.NewSyscallError("clock_gettime", err)
	}
	return time.Now().Round(0).Add(-time.Duration(since.Nano())).Round(time.Second / userHZ), nil
}

// clone returns a procfs for another goroutine, to be used as long as proc is
// open.
func (proc *procfs) clone() *procfs {
	other := *proc
	other.buf = make([]byte, len(proc.buf))
	return &other
}

func (proc *procfs) close() {
	if !proc.kept {
		unix.Close(proc.fd)
	}
}

// pids returns the PIDs of all processes. The caller is one of them: a list without it
// is none.
func (proc *procfs) pids() ([]int, error) {
	fd := proc.fd
	if proc.kept { // its position is everybody's
		var err error
		if fd, err = unix.Openat(proc.fd, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0); err != nil {
			return nil, &os.PathError{Op: "open", Path: "/proc", Err: err}
		}
		defer unix.Close(fd)
	}
	pids, err := numbersIn(fd)
	if err == nil && !slices.Contains(pids, os.Getpid()) {
		err = errors.New("/proc does not list this process")
	}
	return pids, err
}

// numbersIn returns the numbers among the names in a directory.
func numbersIn(fd int) ([]int, error) {
	if _, err := unix.Seek(fd, 0, io.SeekStart); err != nil {
		return nil, procError("seek", "", err)
	}
	var pids []int
	buf := make([]byte, 32<<10)
	for {
		n, err := unix.Getdents(fd, buf)
		if err != nil {
			return nil, procError("getdents", "", err) // also of a process that is gone
		}
		if n == 0 {
			return pids, nil
		}
		pids = parsePIDs(pids, buf[:n])
	}
}

// table returns the rows of those of pids that exist and may be seen. The time goes
// into system calls: two threads take half of it, and are no burden to the program.
func (proc *procfs) table(pids []int, row func(*procfs, int) (Process, error)) ([]Process, error) {
	const few = 32 // are not worth it
	if len(pids) <= few {
		return proc.rows(pids, row)
	}
	half := len(pids) / 2
	var second []Process
	var secondErr error
	var wg sync.WaitGroup
	wg.Go(func() { second, secondErr = proc.clone().rows(pids[half:], row) })
	first, err := proc.rows(pids[:half], row)
	wg.Wait()
	return append(first, second...), errors.Join(err, secondErr)
}

func (proc *procfs) rows(pids []int, row func(*procfs, int) (Process, error)) ([]Process, error) {
	table := make([]Process, 0, len(pids))
	for _, pid := range pids {
		p, err := row(proc, pid)
		switch {
		case err == nil:
			table = append(table, p)
		case !errors.Is(err, ErrGone) && !errors.Is(err, os.ErrPermission): // hidepid=1
			return nil, err
		}
	}
	return table, nil
}

// row returns the row of pid with all fields.
func (proc *procfs) row(pid int) (Process, error) {
	p, err := proc.owned(pid)
	if err != nil {
		return p, err
	}
	args, err := proc.read(pid, "cmdline")
	if err != nil && !errors.Is(err, os.ErrPermission) {
		return p, err
	}
	p.Args = parseCmdline(args)
	if len(args) == mostRead {
		p.Args[len(p.Args)-1] += "…"
	}
	return p, nil
}

// owned returns the row of pid without Args.
func (proc *procfs) owned(pid int) (Process, error) {
	p, err := proc.stat(pid)
	if err != nil {
		return p, err
	}
	// The directory belongs to the effective user, also if the process is not
	// dumpable, unlike the files in it: task_dump_owner in Linux's fs/proc/base.c.
	// It takes a quarter of the time of reading status.
	var owner unix.Stat_t
	path := strconv.Itoa(pid)
	if err := unix.Fstatat(proc.fd, path, &owner, 0); err != nil {
		return p, procError("stat", path, err)
	}
	p.User = strconv.FormatUint(uint64(owner.Uid), 10)
	return p, nil
}

func (proc *procfs) stat(pid int) (Process, error) {
	b, err := proc.read(pid, "stat")
	if err != nil {
		return Process{}, err
	}
	p, err := parseOwnStat(pid, b)
	if err != nil {
		return p, fmt.Errorf("process %d: %w", pid, err)
	}
	p.RSS *= proc.page
	p.Started = proc.boot.Add(time.Duration(p.Start) * (time.Second / userHZ))
	if p.State == Stopped && p.Threads > 1 {
		p.State = proc.slowest(pid)
	}
	return p, nil
}

// slowest returns the state of a thread of pid that has not stopped, or Stopped:
// the first thread, of which the table tells, is not always the last to stop, and
// one that is still on its way may go on with what it is doing, such as reading.
func (proc *procfs) slowest(pid int) State {
	fd, err := unix.Openat(proc.fd, strconv.Itoa(pid)+"/task", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return Stopped // it is as good as gone
	}
	tasks := procfs{fd: fd, buf: make([]byte, len(proc.buf))}
	defer tasks.close()
	tids, _ := numbersIn(fd)
	for _, tid := range tids {
		b, err := tasks.read(tid, "stat")
		if err != nil {
			continue // it has ended
		}
		if thread, err := parseStat(b); err == nil && thread.State != Stopped && thread.State != Zombie {
			return thread.State
		}
	}
	return Stopped
}

// mostRead is how much is read of a file about a process. What is looked for is
// at the beginning, but for a command line, which the process itself can make as long
// as its memory (prctl(2), PR_SET_MM_MAP).
const mostRead = 4 << 10

// read returns the first mostRead bytes of a file of pid, which are valid until the
// next call.
func (proc *procfs) read(pid int, file string) ([]byte, error) {
	path := strconv.Itoa(pid) + "/" + file
	b, _, err := proc.readPath(path)
	// One that is hidden (hidepid=2) looks like one that is gone, but for the kernel. It
	// may also be a later one that has just been born.
	if err == ErrGone && exists(pid) {
		if b, _, err = proc.readPath(path); err == ErrGone && exists(pid) {
			err = &os.PathError{Op: "open", Path: "/proc/" + path, Err: unix.EACCES}
		}
	}
	return b, err
}

// ReadFile returns the beginning, 4 KiB, of a file that /proc has about pid.
func ReadFile(pid int, name string) ([]byte, error) {
	proc, err := openProc()
	if err != nil {
		return nil, err
	}
	defer proc.close()
	b, err := proc.read(pid, name)
	if err != nil {
		return nil, fmt.Errorf("process %d: %w", pid, err)
	}
	return b, nil
}

func exists(pid int) bool {
	err := unix.Kill(pid, 0)
	return err == nil || err == unix.EPERM
}

// readPath returns also the device that the file is on. A buffer that is smaller than
// mostRead is for a file that fits.
func (proc *procfs) readPath(path string) (b []byte, device uint64, err error) {
	fd, err := unix.Openat(proc.fd, path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, 0, procError("open", path, err)
	}
	defer unix.Close(fd)
	if proc.fd == unix.AT_FDCWD {
		var st unix.Stat_t
		if err := unix.Fstat(fd, &st); err != nil {
			return nil, 0, procError("stat", path, err)
		}
		device = uint64(st.Dev)
	}
	// These files come whole.
	n, err := unix.Read(fd, proc.buf[:min(len(proc.buf), mostRead)])
	if err != nil {
		return nil, 0, procError("read", path, err)
	}
	return proc.buf[:n], device, nil
}

// procError: the file is not there, or nothing can be read from it any more.
func procError(op, path string, err error) error {
	if err == unix.ENOENT || err == unix.ESRCH {
		return ErrGone
	}
	return &os.PathError{Op: op, Path: "/proc/" + strings.TrimPrefix(path, "/proc/"), Err: err}
}
