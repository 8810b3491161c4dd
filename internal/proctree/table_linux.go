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
	return proc.lookUp(pid, row)
}

func (proc *procfs) lookUp(pid int, row func(*procfs, int) (Process, error)) (Process, error) {
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
// found then, it asks for those that have been born since. Where the births are not
// known, another look is needed.
func group(pgid int) ([]Process, error) {
	const most = 20 // on a machine where something ends all the time
	began := time.Now()
	proc, err := openProc()
	if err != nil {
		return nil, err
	}
	defer proc.close()
	look := groupLook{proc: proc, pgid: pgid, zombies: make(map[int]bool)}
	for i := 1; i < most && time.Since(began) < longWalk; i++ {
		if moved, err := look.again(); err != nil || !moved {
			return look.members, err
		}
	}
	_, err = look.again()
	return look.members, err
}

// groupLook looks for the members of a process group.
type groupLook struct {
	proc    *procfs
	pgid    int
	zombies map[int]bool // those of the looks before

	// By the last look:
	members []Process
	alive   bool // one of them is
	moved   bool // a member may have been missed
}

// again looks once, at the youngest first, as those may be about to end. moved says
// that it may have missed a member, and that none of those that it found is alive.
func (g *groupLook) again() (moved bool, err error) {
	g.members, g.alive, g.moved = nil, false, false
	births := g.proc.births()
	pids, err := g.proc.pids()
	if err != nil {
		return false, err
	}
	for _, pid := range slices.Backward(pids) {
		if err := g.ask(pid, true); err != nil {
			return false, err
		}
	}
	if births == 0 || g.alive {
		return g.moved && !g.alive, nil
	}
	return g.follow(births)
}

// follow asks for those that have been born lately, until nobody is born meanwhile.
// Whoever lives then has been asked for while it or its parent lived: by its number
// in /proc, or by its number among the latest. A number is given out a little before
// its process can be found: so the latest include some from before the look.
func (g *groupLook) follow(births int) (moved bool, err error) {
	const (
		mostRounds = 1000
		underWay   = 64 // births at one time
	)
	for range mostRounds {
		now := g.proc.births()
		latest, ok := g.proc.givenOut(births, now, underWay)
		if now == 0 || !ok {
			return g.moved, nil // as where births are not known
		}
		for _, pid := range latest {
			if err := g.ask(pid, false); err != nil || g.alive {
				return false, err
			}
		}
		if g.proc.births() == now {
			return false, nil
		}
		births = now
	}
	return true, nil
}

// ask asks whether the process is a member. Unless it is listed in /proc, the number
// may be a thread's, which is none.
func (g *groupLook) ask(pid int, listed bool) error {
	// One cheap system call spares all others for most processes. If it fails for
	// another reason than that the process is gone, /proc decides.
	of, err := unix.Getpgid(pid)
	if err == unix.ESRCH {
		g.moved = true
	}
	if err == unix.ESRCH || err == nil && of != g.pgid {
		return nil
	}
	var p Process
	if listed {
		p, err = g.proc.stat(pid)
	} else {
		p, err = g.proc.lookUp(pid, (*procfs).stat)
	}
	switch {
	case err == nil:
		g.members = append(g.members, p)
		if p.Alive() {
			g.alive = true
		} else if !g.zombies[pid] {
			g.zombies[pid], g.moved = true, true // it has ended since the look before
		}
	case errors.Is(err, ErrGone):
		g.moved = true
	case !errors.Is(err, os.ErrPermission):
		return err
	}
	return nil
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
