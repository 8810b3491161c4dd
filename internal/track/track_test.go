//go:build unix

package track

import (
	"errors"
	"maps"
	"slices"
	"syscall"
	"testing"

	"github.com/corral-run/corral/internal/proctree"
)

// fake is a process table in which the tests make the processes. What is due at a
// look happens before it.
type fake struct {
	rows     map[int]proctree.Process
	looks    int
	at       map[int]func() // by the number of looks that came before
	always   func()
	followed []int
	parents  map[int]uint64 // the birth numbers of the parents, nil if not known
	refuse   map[int]error
	fail     error
}

// These are always there: launchd, a daemon, the shell, the owner in the group and
// the session of the shell's job, and the keeper.
const (
	shell  = 100
	owner  = 200
	keeper = 300
	leader = 400
)

func newFake() *fake {
	f := &fake{rows: make(map[int]proctree.Process), at: make(map[int]func()), refuse: make(map[int]error), parents: make(map[int]uint64)}
	f.add(1, 0, 1, 1)
	f.add(50, 1, 50, 50)
	f.add(shell, 1, shell, shell)
	f.add(owner, shell, owner, shell)
	f.add(keeper, owner, keeper, keeper)
	f.add(leader, keeper, owner, shell)
	return f
}

func (f *fake) add(pid, ppid, pgid, sid int) { f.addAt(uint64(1000+pid), pid, ppid, pgid, sid) }

func (f *fake) addAt(start uint64, pid, ppid, pgid, sid int) {
	if parent, ok := f.rows[ppid]; ok && f.parents != nil {
		f.parents[pid] = parent.Start
	}
	f.rows[pid] = proctree.Process{ID: proctree.ID{PID: pid, Start: start}, PPID: ppid, PGID: pgid, SID: sid, State: proctree.Running}
}

func (f *fake) change(pid int, how func(*proctree.Process)) {
	row := f.rows[pid]
	how(&row)
	f.rows[pid] = row
}

// end ends processes: their children go to launchd.
func (f *fake) end(pids ...int) {
	for _, pid := range pids {
		delete(f.rows, pid)
		for child, row := range f.rows {
			if row.PPID == pid {
				f.change(child, func(p *proctree.Process) { p.PPID = 1 })
			}
		}
	}
}

func (f *fake) Rows() ([]proctree.Process, error) {
	if f.always != nil {
		f.always()
	}
	if due := f.at[f.looks]; due != nil {
		due()
	}
	f.looks++
	return slices.Collect(maps.Values(f.rows)), f.fail
}

func (f *fake) Follow(id proctree.ID) error {
	if err := f.refuse[id.PID]; err != nil {
		return err
	}
	if f.rows[id.PID].ID != id {
		return proctree.ErrGone
	}
	f.followed = append(f.followed, id.PID)
	return nil
}

// Birth numbers are what start times are here.
func (f *fake) Birth(pid int) (own, parent uint64) {
	if f.parents == nil {
		return 0, 0
	}
	return f.rows[pid].Start, f.parents[pid]
}

func (f *fake) tracker() *Tracker { return New(f, f.rows[leader].ID, shell, keeper) }

// want looks and compares.
func want(t *testing.T, tr *Tracker, pids ...int) {
	t.Helper()
	members, err := tr.Look()
	if err != nil {
		t.Fatal(err)
	}
	var got []int
	for _, m := range members {
		got = append(got, m.PID)
	}
	if !slices.Equal(got, pids) {
		t.Errorf("members %v, want %v", got, pids)
	}
}

// TestMembers: which process is a member, and which is not though it looks like
// one.
func TestMembers(t *testing.T) {
	for name, test := range map[string]struct {
		then func(*fake) // after a look at the leader, 401 and 402 below it
		want []int
	}{
		"nothing":                {func(f *fake) {}, []int{leader, 401, 402}},
		"orphans that were seen": {func(f *fake) { f.end(leader, 401) }, []int{402}},
		"below an orphan that was seen": {func(f *fake) {
			f.end(leader, 401)
			f.add(403, 402, owner, shell)
			f.add(404, 403, 404, 404)
		}, []int{402, 403, 404}},
		"a session of its own, seen": {func(f *fake) {
			f.change(402, func(p *proctree.Process) { p.PGID, p.SID = 402, 402 })
			f.end(leader, 401)
		}, []int{402}},
		"others in the owner's group and session": {func(f *fake) {
			f.add(500, owner, owner, shell)
			f.add(501, 1, owner, shell)
			f.add(502, shell, 502, shell)
		}, []int{leader, 401, 402}},
		"the PID of a member, taken over": {func(f *fake) {
			f.end(402)
			f.addAt(9999, 402, 50, 50, 50)
		}, []int{leader, 401}},
		"the leader alone has ended": {func(f *fake) { f.end(leader) }, []int{401, 402}},
		"all have ended":             {func(f *fake) { f.end(leader, 401, 402) }, nil},
		"orphans that were not seen": {func(f *fake) {
			f.add(403, 402, owner, shell)
			f.add(404, 403, 404, 404)
			f.end(402)
			f.add(405, leader, 405, 405)
			f.end(leader)
		}, []int{401, 403, 404, 405}},
		"others' orphans": {func(f *fake) {
			f.add(500, 50, 500, 500)
			f.add(501, 500, owner, shell)
			f.end(50, 500)
		}, []int{leader, 401, 402}},
		// The documentation tells of this escape.
		"a double fork between looks, in the owner's group": {func(f *fake) {
			f.add(410, 401, owner, shell)
			f.add(411, 410, owner, shell)
			f.end(410)
		}, []int{leader, 401, 402}},
		"setsid and a double fork between looks": {func(f *fake) {
			f.add(410, 401, 410, 410)
			f.add(411, 410, 410, 410)
			f.end(410)
		}, []int{leader, 401, 402}},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFake()
			f.add(401, leader, owner, shell)
			f.add(402, 401, owner, shell)
			tr := f.tracker()
			want(t, tr, leader, 401, 402)
			test.then(f)
			want(t, tr, test.want...)
		})
	}
}

// TestGivenAway: an orphan whose parent nobody has seen is a member by the session
// or the group that a member has made, for as long as the run has the number.
func TestGivenAway(t *testing.T) {
	for name, place := range map[string]struct{ pgid, sid int }{
		"session":              {402, 402},
		"group":                {402, shell},
		"group in the session": {403, 402},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFake()
			f.add(402, leader, 402, place.sid)
			tr := f.tracker()
			want(t, tr, leader, 402)
			f.add(411, 1, place.pgid, place.sid)
			f.add(412, 411, 412, 412)
			f.end(402)
			want(t, tr, leader, 411, 412)

			// The number stays the run's for as long as one of them has it.
			f.add(413, 1, place.pgid, place.sid)
			f.end(411)
			want(t, tr, leader, 412, 413)

			// Then it may be another's, also if that has left somebody behind.
			f.change(413, func(p *proctree.Process) { p.State = proctree.Zombie })
			want(t, tr, leader, 412)
			f.end(413)
			f.addAt(9999, 414, 1, place.pgid, place.sid)
			want(t, tr, leader, 412)
		})
	}
}

// TestGivenAwayByLeader: the session or the group may be the leader's own.
func TestGivenAwayByLeader(t *testing.T) {
	t.Run("ended after a look", func(t *testing.T) {
		f := newFake()
		f.change(leader, func(p *proctree.Process) { p.PGID, p.SID = leader, leader })
		tr := f.tracker()
		want(t, tr, leader)
		f.add(411, 1, leader, leader)
		f.end(leader)
		want(t, tr, 411)
	})
	t.Run("ended before the first look", func(t *testing.T) {
		f := newFake()
		f.add(411, 1, leader, shell)
		f.end(leader)
		want(t, New(f, proctree.ID{PID: leader, Start: 1400}, shell, keeper), 411)
	})
}

// TestNotGivenAway: another process has taken over the number, or has joined, or is
// in a session that is not told.
func TestNotGivenAway(t *testing.T) {
	t.Run("taken over between two looks", func(t *testing.T) {
		f := newFake()
		f.add(402, leader, 402, 402)
		tr := f.tracker()
		want(t, tr, leader, 402)
		f.end(402)
		f.addAt(9999, 402, 50, 402, 402)
		f.addAt(9999, 414, 1, 402, 402)
		want(t, tr, leader)
	})
	t.Run("a session that is not told", func(t *testing.T) {
		f := newFake()
		f.add(402, leader, owner, 0)
		f.add(50, 1, 50, 0)
		f.add(51, 1, 51, 1)
		tr := f.tracker()
		want(t, tr, leader, 402)
	})
	t.Run("somebody has joined the group", func(t *testing.T) {
		f := newFake()
		f.add(402, leader, 402, shell)
		tr := f.tracker()
		want(t, tr, leader, 402)
		f.add(500, owner, 402, shell)
		want(t, tr, leader, 402)
	})
}

// TestGivenAwayWithoutBirths: where the births are not known, the group still gives
// an orphan away.
func TestGivenAwayWithoutBirths(t *testing.T) {
	f := newFake()
	f.parents = nil
	f.add(402, leader, 402, shell)
	tr := f.tracker()
	want(t, tr, leader, 402)
	f.add(403, 402, 402, shell)
	f.add(404, 402, owner, shell)
	f.end(402)
	want(t, tr, leader, 403)
}

// TestKeeperIsNone: the keeper is no member, not even when it has lost its parent
// and is in a session of the run's.
func TestKeeperIsNone(t *testing.T) {
	f := newFake()
	f.change(leader, func(p *proctree.Process) { p.PGID, p.SID = leader, leader })
	f.change(keeper, func(p *proctree.Process) { p.PGID, p.SID = keeper, leader })
	tr := f.tracker()
	f.end(owner)
	want(t, tr, leader)
}

// TestEnding: a member that is about to be a zombie still has its children.
func TestEnding(t *testing.T) {
	f := newFake()
	f.add(401, leader, owner, shell)
	tr := f.tracker()
	want(t, tr, leader, 401)
	f.change(401, func(p *proctree.Process) { p.State = proctree.Zombie })
	f.add(402, 401, owner, shell)
	want(t, tr, leader, 402)
	f.end(401)
	want(t, tr, leader, 402)
}

// TestLooksAgree: it looks again for as long as there is news, and no longer.
func TestLooksAgree(t *testing.T) {
	f := newFake()
	f.at[1] = func() { f.add(401, leader, owner, shell) }
	f.at[2] = func() { f.add(402, 401, owner, shell) }
	f.at[3] = func() { f.end(401) }
	f.at[4] = func() { f.end(402) }
	tr := f.tracker()
	want(t, tr, leader)
	if f.looks != 6 { // two that agree
		t.Errorf("%d looks", f.looks)
	}
	if slices.Sort(f.followed); !slices.Equal(f.followed, []int{leader, 401, 402}) {
		t.Errorf("%v are followed", f.followed)
	}
	want(t, tr, leader)
	if f.looks != 7 { // it agrees with the last look before
		t.Errorf("%d looks", f.looks)
	}

	// It gives up on a run that never comes to rest.
	next := 1000
	f.always = func() { f.add(next, leader, owner, shell); next++ }
	members, err := tr.Look()
	if err != nil || len(members) < 10 || f.looks > 100 {
		t.Errorf("%d members after %d looks, %v", len(members), f.looks, err)
	}
}

// TestNotFollowed: a process that cannot be followed is a member, and counts as
// missed until it can be.
func TestNotFollowed(t *testing.T) {
	f := newFake()
	f.add(401, leader, owner, shell)
	f.refuse[401] = syscall.ENOMEM
	tr := f.tracker()
	want(t, tr, leader, 401)
	if !tr.Missed() {
		t.Error("not missed")
	}
	delete(f.refuse, 401)
	want(t, tr, leader, 401)
	if tr.Missed() {
		t.Error("missed")
	}
	want(t, tr, leader, 401)
	f.looks = 0
	f.end(401)
	f.addAt(2000, 301, leader, owner, shell) // PIDs are not in the order of births
	f.refuse[301] = syscall.ENOMEM
	want(t, tr, leader, 301)
	if f.looks != 2 {
		t.Errorf("%d looks at another member", f.looks)
	}

	f.fail = errors.ErrUnsupported
	if members, err := tr.Look(); err != f.fail || members != nil {
		t.Errorf("%v, %v", members, err)
	}
}

// TestKill: it stops all members before it kills one.
func TestKill(t *testing.T) {
	f := newFake()
	f.add(401, leader, owner, shell)
	tr := f.tracker()
	var sent []int // the PIDs, negative ones for a stop
	stopped := func(pid int) { f.change(pid, func(p *proctree.Process) { p.State = proctree.Stopped }) }
	stop := func(id proctree.ID) {
		sent = append(sent, -id.PID)
		switch id.PID {
		case 403: // may not be signalled
		case leader: // it is in a fork, whose child is there two looks later
			f.at[f.looks+2] = func() {
				f.add(402, leader, owner, shell)
				f.add(403, 402, owner, shell)
				stopped(leader)
			}
		default:
			stopped(id.PID)
		}
	}
	kill := func(id proctree.ID) {
		sent = append(sent, id.PID)
		f.end(id.PID)
	}
	if err := tr.Kill(stop, kill); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(sent, []int{-leader, -401, -402, -403, leader, 401, 402, 403}) {
		t.Errorf("%v", sent)
	}
	want(t, tr)
	f.fail = errors.ErrUnsupported
	if err := tr.Kill(stop, kill); err != f.fail {
		t.Error(err)
	}
}

func TestParseBirth(t *testing.T) {
	b := make([]byte, 56)
	for i := range b {
		b[i] = byte(i)
	}
	if own, parent := parseBirth(b); own != 0x1716151413121110 || parent != 0x1f1e1d1c1b1a1918 {
		t.Errorf("%#x, %#x", own, parent)
	}
	if own, parent := parseBirth(b[:55]); own != 0 || parent != 0 {
		t.Errorf("%#x, %#x", own, parent)
	}
}

// TestParentEnds: the last thing that a member does is to fork, and there has been
// no look since.
func TestParentEnds(t *testing.T) {
	f := newFake()
	tr := f.tracker()
	f.add(401, leader, owner, shell)
	f.end(leader)
	want(t, tr, 401)
	f.add(402, 401, owner, shell)
	f.add(403, 401, 403, 403)
	f.end(401)
	want(t, tr, 402, 403)
	f.add(404, 403, owner, shell)
	f.end(402, 403)
	want(t, tr, 404)
	f.end(404)
	want(t, tr)
}
