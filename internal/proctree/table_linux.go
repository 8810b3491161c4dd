package proctree

import (
	"cmp"
	"errors"
	"os"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

const known = true

// parentRecycled: the rows of a table are not read at the same moment, so that
// the parent may be gone, and its PID taken over, when its row is read.
const parentRecycled = true

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
//
// The rows of known, which are sorted by PID, are taken over where the processes
// still have their PIDs. So what can change in them may be out of date.
func Select(pids []int, known ...Process) ([]Process, error) {
	proc, err := openProc()
	if err != nil {
		return nil, err
	}
	defer proc.close()
	rows, err := proc.table(pids, func(proc *procfs, pid int) (Process, error) {
		at, is := slices.BinarySearchFunc(known, pid, func(p Process, pid int) int { return cmp.Compare(p.PID, pid) })
		if is && proc.still(known[at]) {
			return known[at], nil
		}
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
	proc.share(len(lacking), func(proc *procfs, i int) {
		p := &rows[lacking[i]]
		if args, err := proc.args(p.PID); err == nil && proc.still(*p) {
			p.Args = args
		} else if now, err := proc.row(p.PID); err == nil && now.ID == p.ID {
			p.User, p.Args, p.RSS = now.User, now.Args, now.RSS
		}
	})
}

func lookup(pid int) (Process, error) { return lookUp(pid, (*procfs).row) }

func brief(pid int) (Process, error) { return lookUp(pid, (*procfs).stat) }

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

// group reads /proc once for the PIDs and then asks for each. A member that ends in
// between may have started another one, which is not among them: if nobody else is
// found then, another look is needed. As in descendants, a zombie counts only if
// the look before did not have it.
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

// group looks once, at the youngest first, as those may be about to end. moved says
// that it may have missed a member, and that none of those that it found is alive.
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

func identify(pid int) (ID, error) {
	p, err := glance(pid)
	return p.ID, err
}

// glance returns what one file says of pid, without Started and RSS. Every run
// calls it, so it makes four system calls where stat makes ten.
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

// stat returns the row of pid without User and Args.
func stat(pid int) (Process, error) {
	proc, err := openProc()
	if err != nil {
		return Process{}, err
	}
	defer proc.close()
	return proc.stat(pid)
}
