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

// procDevice is the device of the file system that has been seen to be the /proc of
// the caller's PID namespace, which a process cannot leave, or 0. Somebody may
// mount another file system over it at any time.
var procDevice atomic.Uint64

// procKept is a descriptor of it, plus 1, or 0: see KeepOpen.
var procKept atomic.Int32

func usable() error {
	const root = 1 // as in verify, which knows more
	var st unix.Stat_t
	if known := procDevice.Load(); known != 0 && unix.Stat("/proc", &st) == nil && st.Ino == root && uint64(st.Dev) == known {
		return nil
	}
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

// pids returns the PIDs of all processes. A list without the caller is wrong.
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

// share calls f for each number below n. The time goes into system calls: for many,
// two threads take half of it, and do not burden the program. A process of Corral's
// own has no thread to spare.
func (proc *procfs) share(n int, f func(proc *procfs, i int)) {
	const few, atATime = 32, 16
	var next atomic.Int64
	work := func(proc *procfs) {
		for {
			end := int(next.Add(atATime))
			for i := end - atATime; i < min(n, end); i++ {
				f(proc, i)
			}
			if end >= n {
				return
			}
		}
	}
	if n > few && !proc.kept {
		var second sync.WaitGroup
		defer second.Wait()
		second.Go(func() { work(proc.clone()) })
	}
	work(proc)
}

// table returns the rows of those of pids that exist and may be seen.
func (proc *procfs) table(pids []int, row func(*procfs, int) (Process, error)) ([]Process, error) {
	rows, errs := make([]Process, len(pids)), make([]error, len(pids))
	proc.share(len(pids), func(proc *procfs, i int) { rows[i], errs[i] = row(proc, pids[i]) })
	seen := rows[:0]
	for i, err := range errs {
		switch {
		case err == nil:
			seen = append(seen, rows[i])
		case !errors.Is(err, ErrGone) && !errors.Is(err, os.ErrPermission): // hidepid=1
			return nil, err
		}
	}
	return seen, nil
}

// row returns the row of pid with all fields.
func (proc *procfs) row(pid int) (Process, error) {
	p, err := proc.stat(pid)
	if err != nil {
		return p, err
	}
	p.Args, err = proc.args(pid)
	return p, err
}

// args returns the arguments of pid: none if they may not be read.
func (proc *procfs) args(pid int) ([]string, error) {
	b, err := proc.read(pid, "cmdline")
	if errors.Is(err, os.ErrPermission) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	args := parseCmdline(b)
	if len(b) == mostRead {
		args[len(args)-1] += "…"
	}
	return args, nil
}

// dir returns the number of pid's directory and its owner, or 0.
//
// As long as the number is the same, so is the process: the kernel makes an inode
// for one process, and finds it again only for that one (pid_revalidate in its
// fs/proc/base.c). For a later process with the PID it makes another, with the next
// of four billion numbers. It may also make a new one for the same process, if it
// has been short of memory; then only the start time tells.
//
// The directory belongs to the effective user, also if the process is not dumpable,
// unlike the files in it: task_dump_owner in the same file. It takes a tenth of the
// time of reading status.
func (proc *procfs) dir(pid int) (number uint64, owner uint32) {
	var st unix.Stat_t
	if unix.Fstatat(proc.fd, strconv.Itoa(pid), &st, 0) != nil {
		return 0, 0
	}
	return uint64(st.Ino), st.Uid
}

// still reports whether p's directory alone says that its PID is its own.
func (proc *procfs) still(p Process) bool {
	number, _ := proc.dir(p.PID)
	return p.dir != 0 && number == p.dir
}

// unchanged is still for a single process: it takes one system call and opens
// nothing.
func (p Process) unchanged() bool {
	at, path := int(procKept.Load())-1, strconv.Itoa(p.PID)
	if at < 0 {
		at, path = unix.AT_FDCWD, "/proc/"+path
	}
	var st unix.Stat_t
	return p.dir != 0 && unix.Fstatat(at, path, &st, 0) == nil &&
		uint64(st.Ino) == p.dir && uint64(st.Dev) == procDevice.Load()
}

// stat returns the row of pid without Args.
func (proc *procfs) stat(pid int) (Process, error) {
	number, owner := proc.dir(pid) // first: so the number is that of the row's process, or of none any more
	b, err := proc.read(pid, "stat")
	if err != nil {
		return Process{}, err
	}
	p, err := parseOwnStat(pid, b)
	if err != nil {
		return p, fmt.Errorf("process %d: %w", pid, err)
	}
	p.dir = number
	if number != 0 {
		p.User = strconv.FormatUint(uint64(owner), 10)
	}
	p.RSS *= proc.page
	p.Started = proc.boot.Add(time.Duration(p.Start) * (time.Second / userHZ))
	if p.State == Stopped && p.Threads > 1 {
		p.State = proc.slowest(pid)
	}
	return p, nil
}

// parseOwnStat is parseStat for a file that has to be about pid: another one may
// have been mounted in its place.
func parseOwnStat(pid int, b []byte) (Process, error) {
	p, err := parseStat(b)
	switch {
	// Who has been reaped while the row was being made, whose state may be an old one,
	// has no group any more (-1, in do_task_stat of the kernel's fs/proc/array.c). gVisor
	// says 0 for its PID.
	case err == nil && (p.PGID < 0 || p.PID == 0):
		err = ErrGone
	case err == nil && p.PID != pid:
		err = fmt.Errorf("/proc/%d shows process %d", pid, p.PID)
	}
	return p, err
}

// slowest returns the state of a thread of pid that has not stopped, or Stopped if
// all have. The first thread, whose state the table shows, is not always the last
// to stop, and a thread that has not stopped may go on with what it is doing, such
// as reading.
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

// mostRead is how much is read of a file about a process. What is looked for is at
// its beginning, except in a command line, which the process itself can make as
// long as its memory (prctl(2), PR_SET_MM_MAP).
const mostRead = 4 << 10

// read returns the first mostRead bytes of a file of pid, which are valid until the
// next call.
func (proc *procfs) read(pid int, file string) ([]byte, error) {
	path := strconv.Itoa(pid) + "/" + file
	b, _, err := proc.readPath(path)
	// A process that is hidden (hidepid=2) looks like one that is gone, except to
	// the kernel. It may also be a later one that has just been born.
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

// readPath returns also the device that the file is on. A buffer that is smaller
// than mostRead is for a file that fits.
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

// procError returns ErrGone if the file is not there, or if nothing can be read
// from it any more.
func procError(op, path string, err error) error {
	if err == unix.ENOENT || err == unix.ESRCH {
		return ErrGone
	}
	return &os.PathError{Op: op, Path: "/proc/" + strings.TrimPrefix(path, "/proc/"), Err: err}
}

// startNow returns the start time of a process that is born now, or 0 if it is not
// known. The kernel reads this clock in fork (copy_process in its kernel/fork.c),
// and shows it in whole ticks, in the time namespace of whoever looks.
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
