//go:build unix

// Package track follows the processes of a run where the kernel does not: on
// macOS, whose orphans go to launchd. It is the best that can be done there, and
// not enough for a process that does not want to be found: see Tracker.
//
// Only the process table belongs to the system. The rest is compiled and tested on
// every Unix.
package track

import (
	"cmp"
	"encoding/binary"
	"errors"
	"slices"
	"sync"

	"github.com/corral-run/corral/internal/proctree"
)

// Table is the process table.
type Table interface {
	// Rows returns the processes, in any order and with what proctree.Group fills.
	// A process that is ending may be a zombie already, but has to be among them as
	// long as others have it as their parent.
	Rows() ([]proctree.Process, error)
	// Follow arranges for a look when the process forks, executes a program or
	// ends. The error is proctree.ErrGone if it has ended.
	Follow(proctree.ID) error
	// Birth returns the numbers that a process and the one that forked it have had
	// from birth, and no others have. Each is 0 where it is not known.
	Birth(pid int) (own, parent uint64)
}

// A Tracker knows the members of one run: the leader, and
//
//   - the children of members, also those that lost their parent before they were
//     seen. A member stays one, whatever session or group it moves to;
//   - orphans in a session that a member has made, or in a process group that one
//     leads or has led. Others share the session and the group that the leader was
//     started in, so an orphan in them is not a member for that reason.
//
// It cannot know an orphan whose parent has come and gone between two looks, unless
// a session or a group gives it away: a double fork in the group that the leader
// was started in, or with a setsid(2). There is a look after each fork, exec and
// end of a member, so the parent must have been quick.
type Tracker struct {
	table  Table
	home   int // the session that the leader was started in
	self   int // the PID of the process that tracks, never a member
	mu     sync.Mutex
	known  map[proctree.ID]member // those last seen
	ours   map[int]bool           // the run's sessions and groups, by number
	missed bool
}

type member struct {
	followed bool
	birth    uint64
}

// orphanage is the PID of the process that gets the orphans.
const orphanage = 1

// New returns a Tracker for the run of leader, which has been started in the
// session home by the process self, and has not been reaped.
func New(table Table, leader proctree.ID, home, self int) *Tracker {
	own, _ := table.Birth(leader.PID)
	return &Tracker{
		table: table, home: home, self: self,
		known: map[proctree.ID]member{leader: {birth: own}}, ours: map[int]bool{leader.PID: true},
	}
}

// Look returns the live members, older ones first. It looks until two looks agree,
// where the last one of the Look before counts. After some looks it gives up on
// that: a run that forks all the time never comes to rest. Several goroutines may
// call it.
func (t *Tracker) Look() ([]proctree.Process, error) {
	const most = 20
	t.mu.Lock()
	defer t.mu.Unlock()
	for i := 1; ; i++ {
		members, changed, err := t.look()
		if err != nil || !changed || i == most {
			return members, err
		}
	}
}

// Missed reports whether the last Look could not follow a member: nothing will say
// that it forks or ends.
func (t *Tracker) Missed() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.missed
}

// look looks once. changed means that the members are not those of the look before.
func (t *Tracker) look() (members []proctree.Process, changed bool, err error) {
	rows, err := t.table.Rows()
	if err != nil {
		return nil, false, err
	}
	members = t.find(rows)
	now := make(map[proctree.ID]member, len(members))
	t.missed = false
	for _, row := range members {
		m, ok := t.known[row.ID]
		if !ok {
			m.birth, _ = t.table.Birth(row.PID)
			changed = true
		}
		if !m.followed {
			err := t.table.Follow(row.ID)
			m.followed = err == nil
			// Only another look can tell what it did before.
			changed = changed || m.followed
			t.missed = t.missed || !m.followed && !errors.Is(err, proctree.ErrGone)
		}
		now[row.ID] = m
	}
	changed = changed || len(now) != len(t.known)
	t.known = now
	return members, changed, nil
}

// find returns the rows of the live members, and notes their sessions and groups.
func (t *Tracker) find(rows []proctree.Process) []proctree.Process {
	t.forget(rows)
	var members []proctree.Process
	is := make(map[int]bool)        // by PID
	births := make(map[uint64]bool) // of members, and of those that have just ended
	for _, m := range t.known {
		births[m.birth] = true
	}
	delete(births, 0)
	add := func(p proctree.Process) {
		is[p.PID] = true
		if p.Alive() {
			members = append(members, p)
		}
		if p.SID != t.home && p.SID > orphanage {
			t.ours[p.SID] = true
		}
		if p.PGID == p.PID {
			t.ours[p.PGID] = true
		}
	}
	var others []proctree.Process
	for _, p := range rows {
		if _, ok := t.known[p.ID]; ok {
			add(p)
		} else if p.PID != t.self {
			others = append(others, p)
		}
	}
	parents := make(map[int]uint64) // of the orphans among the others
	for _, p := range others {
		if p.PPID == orphanage && p.Alive() {
			_, parents[p.PID] = t.table.Birth(p.PID)
		}
	}
	for found := true; found; {
		found = false
		for _, p := range others {
			parent, orphan := parents[p.PID]
			if !is[p.PID] && (is[p.PPID] || orphan && (births[parent] || t.ours[p.SID] || t.ours[p.PGID])) {
				add(p)
				found = true
			}
		}
	}
	slices.SortFunc(members, func(a, b proctree.Process) int {
		return cmp.Or(cmp.Compare(a.Start, b.Start), cmp.Compare(a.PID, b.PID))
	})
	return members
}

// forget drops the sessions and groups that are no longer the run's. The kernel
// does not give out a PID anew while a session or a group has it as its number. So
// a session or group is gone if no live process is in it, or if a process that is
// no member leads it.
func (t *Tracker) forget(rows []proctree.Process) {
	used := make(map[int]bool)
	taken := make(map[int]bool)
	for _, p := range rows {
		if !p.Alive() {
			continue
		}
		used[p.SID], used[p.PGID] = true, true
		if _, ok := t.known[p.ID]; !ok {
			taken[p.PID] = true
		}
	}
	for number := range t.ours {
		if !used[number] || taken[number] {
			delete(t.ours, number)
		}
	}
}

// Kill kills all members. Before that it stops them (SIGSTOP), and looks until all
// have stopped and no others have turned up: a child that has not been seen is lost
// when its parent is killed. It does not wait forever for those that do not stop.
func (t *Tracker) Kill(stop, kill func(proctree.ID)) error {
	const most = 20
	sent := make(map[proctree.ID]bool)
	for i := 1; ; i++ {
		members, err := t.Look()
		if err != nil {
			return err
		}
		moving := false
		for _, m := range members {
			if !sent[m.ID] {
				sent[m.ID] = true
				stop(m.ID)
			}
			moving = moving || m.State != proctree.Stopped
		}
		if moving && i < most {
			continue
		}
		for _, m := range members {
			kill(m.ID)
		}
		return nil
	}
}

// parseBirth finds the numbers of Birth in a struct proc_uniqidentifierinfo
// (xnu's bsd/sys/proc_info_private.h): a UUID, then p_uniqueid and p_puniqueid,
// the parent's, which "doesn't change if reparented" (bsd/sys/proc_internal.h).
func parseBirth(b []byte) (own, parent uint64) {
	if len(b) != sizeofBirth {
		return 0, 0
	}
	return binary.LittleEndian.Uint64(b[16:]), binary.LittleEndian.Uint64(b[24:])
}

const sizeofBirth = 56
