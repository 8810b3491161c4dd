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

// table returns the rows of those of pids that exist and may be seen. The time goes
// into system calls: two threads take half of it, and do not burden the program.
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

// userHZ is the unit of times in /proc/PID/stat per second. It is part of the
// kernel's interface: 100 on every architecture that Go supports, whatever the
// kernel's own tick.
const userHZ = 100

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
