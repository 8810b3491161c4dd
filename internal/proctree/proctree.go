// Package proctree reads the process table: which processes there are, who
// they are, and when one of them ends.
//
// It imports nothing of this module but procctl and keeps no state. Each operation
// that differs between operating systems is one unexported function, in a file per
// system. What turns bytes into values is in parse_*.go, compiled and tested
// everywhere.
package proctree

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"os"
	"slices"
	"time"
)

// ErrGone says that the process (or every process of the group) an operation
// was meant for has ended. A zombie with no live thread counts as gone.
var ErrGone = errors.New("process is gone")

// ID names one process and no later one with the same PID.
type ID struct {
	PID int
	// Start is the start time in the unit the kernel keeps it in: clock ticks
	// since boot on Linux, microseconds since boot on FreeBSD and since 1970 on
	// macOS, 100 ns since 1601 on Windows. It is for comparing only;
	// Process.Started is for people.
	Start uint64
}

// State is the state of a process, as the letter that ps prints.
type State byte

const (
	Running  State = 'R'
	Sleeping State = 'S'
	Disk     State = 'D' // uninterruptible: no signal is acted on until it ends
	Stopped  State = 'T' // all threads of it
	Traced   State = 't'
	Zombie   State = 'Z'
	Idle     State = 'I'
	Unknown  State = '?'
)

// Process is one row of the process table.
type Process struct {
	ID
	PPID    int
	PGID    int // 0 on Windows
	SID     int // session; on Windows the terminal session
	State   State
	Threads int    // 0 where the system does not tell
	User    string // numeric real user ID; on Windows the SID; empty where unknown
	Name    string // the kernel's short name
	Args    []string
	Started time.Time
	RSS     int64 // resident memory in bytes; 0 where unknown

	// CPU is the processor time that all its threads have used, if CPUKnown: macOS does
	// not tell, nor RSS. Linux counts it in hundredths of a second.
	CPU      time.Duration
	CPUKnown bool

	// dir is the number of the process's directory on Linux, 0 where there is none.
	// See procfs.dir.
	dir uint64 //lint:ignore U1000 other systems have none
}

// Alive reports whether any thread of p still runs. A thread-group leader in
// state Z whose other threads live is alive.
func (p Process) Alive() bool { return p.State != Zombie || p.Threads > 1 }

// Command returns Args or, where these are empty (of a zombie, of a kernel thread,
// or where they may not be read), the short name in brackets, as ps does.
func (p Process) Command() []string {
	if len(p.Args) > 0 {
		return p.Args
	}
	return []string{"[" + p.Name + "]"}
}

// Known reports whether this package can read the process table of this system.
const Known = known

// Usable returns nil if the process table can be read, else why it cannot: on
// Linux, /proc may not be mounted, or be that of another PID namespace.
func Usable() error {
	if err := usable(); err != nil {
		return err
	}
	return nil
}

// KeepOpen keeps open what the process table is read from, for good and for all
// that this package does: on Linux a descriptor of /proc, so that nothing that is
// mounted there later is taken for it. It is for processes that belong to Corral.
func KeepOpen() error {
	if err := keepOpen(); err != nil {
		return err
	}
	return nil
}

// Snapshot returns the whole process table, sorted by PID, with every field
// filled that the system tells the caller. Zombies are in it.
//
// A process that ends during the look may be missing, and so is one that the
// system hides from the caller (hidepid on Linux, security.bsd.see_other_uids
// on FreeBSD). The table is not atomic on Linux: a process that forks during the
// look may leave a child that is not in it.
func Snapshot() ([]Process, error) {
	table, err := snapshot()
	if err != nil {
		return nil, fmt.Errorf("cannot read the process table: %w", err)
	}
	slices.SortFunc(table, func(a, b Process) int { return cmp.Compare(a.PID, b.PID) })
	return table, nil
}

// Lookup returns the row of one process, with all its fields, also if it is a
// zombie. The error is ErrGone if there is no process pid, and wraps
// os.ErrPermission if the system hides it from the caller.
func Lookup(pid int) (Process, error) {
	p, err := Process{}, ErrGone
	if possible(pid) {
		p, err = lookup(pid)
	}
	if err != nil {
		return Process{}, fmt.Errorf("process %d: %w", pid, err)
	}
	return p, nil
}

// Brief is Lookup without Args. These are in the memory of the process, which can
// make a reader wait for a page that comes from a file system of its own.
func Brief(pid int) (Process, error) {
	p, err := Process{}, ErrGone
	if possible(pid) {
		p, err = brief(pid)
	}
	if err != nil {
		return Process{}, fmt.Errorf("process %d: %w", pid, err)
	}
	return p, nil
}

// Identify returns the identity of process pid, at a fraction of what Lookup costs.
// Its errors are those of Lookup.
func Identify(pid int) (ID, error) {
	id, err := ID{}, ErrGone
	if possible(pid) {
		id, err = identify(pid)
	}
	if err != nil {
		return ID{}, fmt.Errorf("process %d: %w", pid, err)
	}
	return id, nil
}

// Live returns the row of process id as Brief does, and true, if the PID is still
// its own and it is alive. It is false too if the system does not tell.
func Live(id ID) (Process, bool) {
	p, err := Brief(id.PID)
	if err != nil || !p.stillLives(id) {
		return Process{}, false
	}
	return p, true
}

// stillLives reports whether p, a row that has just been read, shows the process id
// alive.
func (p Process) stillLives(id ID) bool { return p.ID == id && p.Alive() }

// Same reports whether the PID of process id is still its own, as it is until it
// has been reaped: a zombie counts. It is false too if the system does not tell.
func Same(id ID) bool { return stillIs(id) == nil }

// stillIs returns nil if id's PID is its own, and ErrGone if it is nobody's or
// another one's.
func stillIs(id ID) error {
	now, err := ID{}, ErrGone
	if possible(id.PID) {
		now, err = identify(id.PID)
	}
	if err == nil && now != id {
		err = ErrGone
	}
	return err
}

// A Moment is a point in time, for Born.
type Moment struct{ start uint64 }

// Now returns the present moment.
func Now() Moment { return Moment{startNow()} }

// Born returns the identity of a child that the caller has started since m and has
// not reaped. It looks only if a process born now would have another start time
// than one born at m, as start times are coarse on some systems.
func (m Moment) Born(pid int) (ID, error) {
	if m.start != 0 && startNow() == m.start && possible(pid) {
		return ID{pid, m.start}, nil
	}
	return Identify(pid)
}

// Group returns the live members of the process group pgid, in no particular order.
// It is no error if there are none. User, Args and RSS are not necessarily filled:
// see Detail. On Windows, which has no way to list the members of a console process
// group, the error wraps errors.ErrUnsupported.
func Group(pgid int) ([]Process, error) {
	if !possible(pgid) {
		return nil, nil
	}
	members, err := group(pgid)
	if err != nil {
		return nil, fmt.Errorf("process group %d: %w", pgid, err)
	}
	return slices.DeleteFunc(members, func(p Process) bool { return p.PGID != pgid || !p.Alive() }), nil
}

// Below returns the live descendants of process pid, in no particular order and
// with what Group fills. It costs as much as there are descendants, not as much
// as there are processes, where the system lists the children of a process
// (Linux with CONFIG_PROC_CHILDREN) or what a reaper has (FreeBSD, if pid is one).
//
// Descendants of a process that has ended belong to whoever adopted them: only
// those of a subreaper or reaper (prctl(2), procctl(2)) are complete. One that
// is forked or adopted during the look may be missing.
func Below(pid int) ([]Process, error) {
	if !possible(pid) {
		return nil, nil
	}
	rows, err := descendants(pid)
	return living(pid, rows, err)
}

// BelowID is Below for the process id and no later one with its PID: the error
// wraps ErrGone if the PID is not its own any more, before the look or after it.
func BelowID(id ID) ([]Process, error) { return belowID(id, Below) }

// BelowMainThreadID is to BelowMainThread as BelowID is to Below.
func BelowMainThreadID(id ID) ([]Process, error) {
	return belowID(id, func(pid int) ([]Process, error) { return BelowMainThread(pid) })
}

func belowID(id ID, below func(pid int) ([]Process, error)) ([]Process, error) {
	if err := stillIs(id); err != nil {
		return nil, fmt.Errorf("process %d: %w", id.PID, err)
	}
	rows, err := below(id.PID)
	if err != nil {
		return nil, err
	}
	if err := stillIs(id); err != nil {
		return nil, fmt.Errorf("process %d: %w", id.PID, err)
	}
	return rows, nil
}

// living returns those of rows that are alive, and wraps err.
func living(pid int, rows []Process, err error) ([]Process, error) {
	if err != nil {
		return nil, fmt.Errorf("descendants of process %d: %w", pid, err)
	}
	return slices.DeleteFunc(rows, func(p Process) bool { return !p.Alive() }), nil
}

// descendantsByTable and childPIDsByTable need no more than a survey, a snapshot
// with what Group fills.
func descendantsByTable(pid int) ([]Process, error) {
	table, err := survey()
	return Descendants(table, pid), err
}

// ChildPIDs returns the children of process pid, zombies included. For the
// calling process the list is complete if none of them is reaped meanwhile.
func ChildPIDs(pid int) ([]int, error) {
	pids, err := childPIDs(pid)
	if err != nil {
		return nil, fmt.Errorf("children of process %d: %w", pid, err)
	}
	return pids, nil
}

// verified returns the rows of the processes that list names, older ones first. A
// process that list does not name both before and after its row is read is left
// out: the row may be that of a later process with its PID.
func verified(list func() ([]int, error), row func(int) (Process, error)) ([]Process, error) {
	before, err := list()
	if err != nil {
		return nil, err
	}
	var rows []Process
	for _, pid := range before {
		p, err := row(pid)
		switch {
		case err == nil:
			rows = append(rows, p)
		case !errors.Is(err, ErrGone) && !errors.Is(err, os.ErrPermission):
			return nil, err
		}
	}
	after, err := list()
	if err != nil {
		return nil, err
	}
	still := make(map[int]bool, len(after))
	for _, pid := range after {
		still[pid] = true
	}
	rows = slices.DeleteFunc(rows, func(p Process) bool { return !still[p.PID] })
	slices.SortFunc(rows, func(a, b Process) int { return cmp.Compare(a.Start, b.Start) })
	return rows, nil
}

func childPIDsByTable(pid int) ([]int, error) {
	table, err := survey()
	var pids []int
	for _, p := range Children(table, pid) {
		pids = append(pids, p.PID)
	}
	return pids, err
}

// Detail returns p with User, Args and RSS filled. If p has ended meanwhile,
// or may not be looked at, it is returned as it was.
func Detail(p Process) Process {
	if now, err := Lookup(p.PID); err == nil && now.ID == p.ID {
		p.User, p.Args, p.RSS = now.User, now.Args, now.RSS
	}
	return p
}

// Details returns a copy of rows. Where Args are missing, User, Args and RSS are
// filled as Detail does.
func Details(rows []Process) []Process {
	rows = slices.Clone(rows)
	details(rows)
	return rows
}

// possible reports whether a number can be a PID. The system calls would take 0 and
// negative numbers for groups, and cut off the upper half of an int.
func possible(pid int) bool { return pid > 0 && pid <= math.MaxInt32 }

// Children returns the rows of table whose parent is pid, zombies included.
// It goes by the same rules as Descendants.
func Children(table []Process, pid int) []Process {
	return below(table, []int{pid}, false)
}

// Descendants returns the rows of table that descend from any of the roots,
// zombies included, each once, parents before their children. Roots are not
// among them, not even one that descends from another.
//
// A row's parent PID may name a process that has only taken the number over from
// the real parent. Where that can happen, a child that is older than its parent
// does not count as its child.
func Descendants(table []Process, roots ...int) []Process {
	return below(table, roots, true)
}

func below(table []Process, roots []int, deep bool) []Process {
	rows := make(map[int]int, len(table)) // PID to row
	children := make(map[int][]int)       // PID to rows
	for i, p := range table {
		rows[p.PID] = i
		children[p.PPID] = append(children[p.PPID], i)
	}
	seen := make(map[int]bool)
	for _, pid := range roots {
		seen[pid] = true
	}
	var found []Process
	for queue := slices.Clone(roots); len(queue) > 0; queue = queue[1:] {
		parent, listed := rows[queue[0]]
		for _, i := range children[queue[0]] {
			child := table[i]
			if seen[child.PID] || listed && parentRecycled && child.Start < table[parent].Start {
				continue
			}
			seen[child.PID] = true
			found = append(found, child)
			if deep {
				queue = append(queue, child.PID)
			}
		}
	}
	return found
}
