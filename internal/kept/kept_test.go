package kept

import (
	"slices"
	"testing"

	"github.com/corral-run/corral/internal/proctree"
)

func row(pid int, start uint64, parent, session int) proctree.Process {
	return proctree.Process{ID: proctree.ID{PID: pid, Start: start}, PPID: parent, SID: session, State: 'S'}
}

func pids(rows []proctree.Process) (pids []int) {
	for _, row := range rows {
		pids = append(pids, row.PID)
	}
	return pids
}

// TestSession: whoever is in the session of one that has been let go of is no member,
// until the session is over and its number another's.
func TestSession(t *testing.T) {
	const keeper, sid = 100, 500
	begin := func(rows ...proctree.Process) *Set {
		s := new(Set)
		s.add(proctree.ID{PID: sid, Start: 1}, true)
		if got := pids(s.Members(append(rows, row(7, 1, keeper, 7)))); !slices.Equal(got, []int{7}) {
			t.Errorf("the members are %v", got)
		}
		return s
	}
	orphan := row(501, 2, keeper, sid)
	begin(row(sid, 1, keeper, sid))
	s := begin(orphan)

	// The orphan is not looked at again, but it may be there.
	one := row(502, 3, keeper, sid)
	if got := s.Members([]proctree.Process{one}); len(got) > 0 {
		t.Errorf("in the session: %v", got)
	}
	s.Prune([]proctree.Process{one, row(7, 1, keeper, 7)})
	if got := s.Members([]proctree.Process{row(503, 4, keeper, sid)}); len(got) > 0 {
		t.Errorf("in the session, which is pruned while somebody is in it: %v", got)
	}
	s.Prune([]proctree.Process{{ID: proctree.ID{PID: 504}}})
	if got := s.Members([]proctree.Process{row(505, 5, keeper, sid)}); len(got) > 0 {
		t.Errorf("in the session, which is pruned while somebody is hidden: %v", got)
	}

	// All have ended, and a member gets the number.
	other := []proctree.Process{row(sid, 9, keeper, sid), row(506, 10, sid, sid)}
	if got := pids(s.Members(other)); !slices.Equal(got, []int{sid, 506}) {
		t.Errorf("another session of that number: %v are members", got)
	}
	if got := pids(s.Members(other[1:])); !slices.Equal(got, []int{506}) {
		t.Errorf("the same, when its leader has ended: %v are members", got)
	}
	s = begin(orphan)
	s.Prune([]proctree.Process{row(7, 1, keeper, 7)})
	if got := pids(s.Members(other[1:])); !slices.Equal(got, []int{506}) {
		t.Errorf("another session whose leader nobody has seen: %v are members", got)
	}
	if got := s.Members([]proctree.Process{orphan}); len(got) > 0 {
		t.Error("one that has been let go of is a member when its session has been forgotten")
	}
}
