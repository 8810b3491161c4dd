// Package kept tells the members of a run from those that the run has let go of,
// where both are below the same keeper.
package kept

import (
	"maps"
	"slices"
	"sync"

	"github.com/corral-run/corral/internal/proctree"
)

// Set is who has been let go of, with all that they start. Its zero value is empty.
//
// What a process starts is below it in the process table until one in between ends.
// Then it becomes the keeper's child, as an orphan of the members' does. So a
// session counts as well: whoever is in the session that a process leads was started
// by it, as no other can enter that (setsid(2)). An orphan with neither is a member.
type Set struct {
	mu       sync.Mutex
	ids      map[proctree.ID]bool
	sessions map[int]bool
}

// Add adds processes. Those below them need not be named.
func (s *Set) Add(ids ...proctree.ID) {
	for _, id := range ids {
		row, ok := proctree.Live(id)
		s.mu.Lock()
		s.add(id, ok && row.SID == id.PID)
		s.mu.Unlock()
	}
}

func (s *Set) add(id proctree.ID, leads bool) {
	if s.ids == nil {
		s.ids, s.sessions = make(map[proctree.ID]bool), make(map[int]bool)
	}
	s.ids[id] = true
	if leads {
		s.sessions[id.PID] = true
	}
}

// Empty reports whether nobody has been let go of.
func (s *Set) Empty() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.ids) == 0
}

// Members returns those of the rows that have not been let go of. The rows are all
// below one keeper, in any order. Who is found to be below one of the set is in it
// from now on, whatever becomes of its parent.
func (s *Set) Members(rows []proctree.Process) []proctree.Process {
	if s.Empty() {
		return rows
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	byPID := make(map[int]proctree.Process, len(rows))
	for _, row := range rows {
		byPID[row.PID] = row
		// Nobody gets the number of a session that somebody is in. So this one is
		// over, and one of that number is another.
		if s.sessions[row.PID] && row.Start != 0 && !s.ids[row.ID] {
			delete(s.sessions, row.PID)
		}
	}
	return slices.DeleteFunc(slices.Clone(rows), func(row proctree.Process) bool { return s.has(row, byPID) })
}

// Prune forgets the sessions that nobody is in: their numbers become those of others.
// The rows are all that are below the keeper.
func (s *Set) Prune(rows []proctree.Process) {
	if s.Empty() {
		return
	}
	used := make(map[int]bool, len(rows))
	for _, row := range rows {
		if row.Start == 0 { // its PID is all that is known
			return
		}
		used[row.SID] = true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	maps.DeleteFunc(s.sessions, func(sid int, _ bool) bool { return !used[sid] })
}

// has reports whether a row, or one above it, is in the set.
func (s *Set) has(row proctree.Process, byPID map[int]proctree.Process) bool {
	var path []proctree.Process
	for found := true; found && len(path) <= len(byPID); row, found = byPID[row.PPID] {
		path = append(path, row)
		if s.ids[row.ID] || s.sessions[row.SID] {
			for _, below := range path {
				s.add(below.ID, below.SID == below.PID)
			}
			return true
		}
	}
	return false
}
