//go:build linux || darwin || freebsd || windows

package stop

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"slices"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/corral-run/corral/internal/diff"
	"github.com/corral-run/corral/internal/proctree"
)

// fakeMember obeys the signals it has a reaction for, some time after it got them.
// SIGKILL is a signal like the others here, so that a member can outlive it.
type fakeMember struct {
	pid     int
	obeys   map[syscall.Signal]time.Duration
	denied  bool // it belongs to somebody else
	forksTo int  // when it ends, it leaves this member behind
	twice   bool // it is listed twice: it ends between the two looks that a list is made of
}

// fakeContainment holds members that live in virtual time.
type fakeContainment struct {
	mu      sync.Mutex
	alive   map[int]*fakeMember
	nobody  chan struct{} // closed when no member is left
	calls   []string
	failing map[string]error // by the name of the call
	failNth int              // the one call, of any name, that fails; 0 for none
	nth     int
}

func newFake(members ...*fakeMember) *fakeContainment {
	f := &fakeContainment{alive: map[int]*fakeMember{}, nobody: make(chan struct{}), failing: map[string]error{}}
	for _, m := range members {
		f.alive[m.pid] = m
	}
	return f
}

var errInjected = errors.New("injected")

func (f *fakeContainment) fails(call string) error {
	if f.nth++; f.nth == f.failNth {
		return errInjected
	}
	return f.failing[call]
}

func (f *fakeContainment) Signal(sigs ...os.Signal) (err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, sig := range sigs {
		f.calls = append(f.calls, "signal "+SignalName(sig))
		if err = f.fails("signal"); err != nil {
			return err
		}
		if err = f.deliver(sig.(syscall.Signal)); err != nil {
			return err
		}
	}
	return nil
}

// closed stands for the end of standard input among what a member obeys.
const closed = syscall.Signal(1000)

func (f *fakeContainment) closeInput() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls = append(f.calls, "close")
	if err := f.fails("close"); err != nil {
		return err
	}
	f.deliver(closed)
	return nil
}

func (f *fakeContainment) deliver(sig syscall.Signal) error {
	if len(f.alive) == 0 {
		return os.ErrProcessDone
	}
	err := os.ErrPermission
	for _, m := range f.alive {
		if m.denied {
			continue
		}
		err = nil
		if after, ok := m.obeys[sig]; ok {
			time.AfterFunc(after, func() { f.end(m) })
		}
	}
	return err
}

func (f *fakeContainment) end(m *fakeMember) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.alive[m.pid] == nil {
		return
	}
	delete(f.alive, m.pid)
	if m.forksTo != 0 {
		f.alive[m.forksTo] = &fakeMember{pid: m.forksTo, obeys: m.obeys}
	}
	if len(f.alive) == 0 {
		close(f.nobody)
	}
}

func (f *fakeContainment) Kill() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls = append(f.calls, "kill")
	if err := f.fails("kill"); err != nil {
		return err
	}
	return f.deliver(syscall.SIGKILL)
}

func (f *fakeContainment) Members() ([]proctree.Process, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.fails("members"); err != nil {
		return nil, err
	}
	var all []proctree.Process
	for pid, m := range f.alive {
		p := proctree.Process{ID: proctree.ID{PID: pid, Start: uint64(pid)}, Args: fakeCommand}
		if all = append(all, p); m.twice {
			all = append(all, p)
		}
	}
	return all, nil
}

var fakeCommand = []string{"fake"}

func fakeRecord(pid int) Leftover {
	return Leftover{ID: proctree.ID{PID: pid, Start: uint64(pid)}, Command: fakeCommand}
}

// recordWith is what is recorded of a fake member.
func recordWith(pid int, fate, signal string) Leftover {
	r := fakeRecord(pid)
	r.Fate, r.Signal = fate, signal
	if fate == Survived {
		r.Reason = "because"
	}
	return r
}

func (f *fakeContainment) AwaitEmpty(ctx context.Context) error {
	f.mu.Lock()
	err := f.fails("empty")
	f.mu.Unlock()
	if err != nil {
		return err
	}
	select {
	case <-f.nobody:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// member is one that obeys TERM after a while, and KILL at once.
func member(pid int, term time.Duration) *fakeMember {
	return &fakeMember{pid: pid, obeys: map[syscall.Signal]time.Duration{
		syscall.SIGTERM: term, syscall.SIGKILL: time.Millisecond,
	}}
}

// deaf is one that obeys KILL only.
func deaf(pid int) *fakeMember {
	return &fakeMember{pid: pid, obeys: map[syscall.Signal]time.Duration{syscall.SIGKILL: time.Millisecond}}
}

const leaderPID = 100

func TestStopper(t *testing.T) {
	term := Plan{{syscall.SIGTERM, 2 * time.Second}}
	fate := recordWith
	for _, tt := range []struct {
		name      string
		members   []*fakeMember
		plan      Plan
		failing   map[string]error
		force     time.Duration // when force is called, if not 0
		calls     []string
		took      time.Duration
		leftovers []Leftover
		forced    bool
		leader    bool  // still alive
		unasked   error // why no member could be asked
	}{
		{
			name:    "all obey",
			members: []*fakeMember{member(leaderPID, time.Second), member(101, time.Millisecond), member(102, 1500*time.Millisecond)},
			plan:    term,
			calls:   []string{"signal SIGTERM", "signal SIGCONT"},
			took:    1500 * time.Millisecond,
			leftovers: []Leftover{
				fate(101, Signalled, "SIGTERM"), fate(102, Signalled, "SIGTERM"),
			},
		},
		{
			name:      "one is listed twice",
			members:   []*fakeMember{{pid: 101, twice: true, obeys: member(101, time.Second).obeys}},
			plan:      term,
			calls:     []string{"signal SIGTERM", "signal SIGCONT"},
			took:      time.Second,
			leftovers: []Leftover{fate(101, Signalled, "SIGTERM")},
		},
		{
			name:      "the leader obeys and another does not",
			members:   []*fakeMember{member(leaderPID, 0), deaf(101)},
			plan:      term,
			calls:     []string{"signal SIGTERM", "signal SIGCONT", "kill"},
			took:      2001 * time.Millisecond,
			leftovers: []Leftover{fate(101, Forced, "")},
			forced:    true,
		},
		{
			name:      "only the leader is deaf",
			members:   []*fakeMember{deaf(leaderPID), member(101, time.Millisecond)},
			plan:      term,
			calls:     []string{"signal SIGTERM", "signal SIGCONT", "kill"},
			took:      2001 * time.Millisecond,
			leftovers: []Leftover{fate(101, Signalled, "SIGTERM")},
			forced:    true,
		},
		{
			name:    "each step tells who it ended",
			members: []*fakeMember{{pid: 101, obeys: map[syscall.Signal]time.Duration{syscall.SIGINT: 0}}, member(102, 0), deaf(103)},
			plan:    Plan{{syscall.SIGINT, time.Second}, {syscall.SIGTERM, time.Second}},
			calls:   []string{"signal SIGINT", "signal SIGCONT", "signal SIGTERM", "signal SIGCONT", "kill"},
			took:    2001 * time.Millisecond,
			leftovers: []Leftover{
				fate(101, Signalled, "SIGINT"), fate(102, Signalled, "SIGTERM"), fate(103, Forced, ""),
			},
			forced: true,
		},
		{
			name:      "an empty plan kills",
			members:   []*fakeMember{member(101, 0)},
			plan:      Plan{},
			calls:     []string{"kill"},
			took:      time.Millisecond,
			leftovers: []Leftover{fate(101, Forced, "")},
			forced:    true,
		},
		{
			name:      "KILL as a step is the kill",
			members:   []*fakeMember{deaf(101)},
			plan:      Plan{{syscall.SIGTERM, time.Second}, {syscall.SIGKILL, time.Hour}},
			calls:     []string{"signal SIGTERM", "signal SIGCONT", "kill"},
			took:      1001 * time.Millisecond,
			leftovers: []Leftover{fate(101, Forced, "")},
			forced:    true,
		},
		{
			name:  "nobody there",
			plan:  term,
			calls: nil,
		},
		{
			name:    "a member leaves another behind when it ends",
			members: []*fakeMember{{pid: 101, forksTo: 102, obeys: map[syscall.Signal]time.Duration{syscall.SIGTERM: time.Second, syscall.SIGKILL: 0}}},
			plan:    term,
			calls:   []string{"signal SIGTERM", "signal SIGCONT", "kill"},
			took:    2 * time.Second,
			leftovers: []Leftover{
				fate(101, Signalled, "SIGTERM"), fate(102, Forced, ""),
			},
			forced: true,
		},
		{
			name:      "force cuts the grace short",
			members:   []*fakeMember{deaf(101)},
			plan:      Plan{{syscall.SIGINT, time.Hour}, {syscall.SIGTERM, time.Hour}},
			force:     3 * time.Second,
			calls:     []string{"signal SIGINT", "signal SIGCONT", "kill"},
			took:      3001 * time.Millisecond,
			leftovers: []Leftover{fate(101, Forced, "")},
			forced:    true,
		},
		{
			name:      "an unkillable member is named after a bounded time",
			members:   []*fakeMember{member(101, 0), {pid: 102}},
			plan:      term,
			calls:     []string{"signal SIGTERM", "signal SIGCONT", "kill"},
			took:      2*time.Second + KillPatience,
			leftovers: []Leftover{fate(101, Signalled, "SIGTERM"), fate(102, Survived, "")},
			forced:    true,
		},
		{
			name:      "an unkillable leader",
			members:   []*fakeMember{{pid: leaderPID}},
			plan:      term,
			calls:     []string{"signal SIGTERM", "signal SIGCONT", "kill"},
			took:      2*time.Second + KillPatience,
			leftovers: []Leftover{fate(leaderPID, Survived, "")},
			forced:    true,
			leader:    true,
		},
		{
			name:      "members of another user take no patience",
			members:   []*fakeMember{{pid: 102, denied: true}},
			plan:      term,
			calls:     []string{"signal SIGTERM", "kill"},
			leftovers: []Leftover{fate(102, Survived, "")},
			forced:    true,
			unasked:   os.ErrPermission,
		},
		{
			name:      "signal fails",
			members:   []*fakeMember{member(101, 0)},
			plan:      term,
			failing:   map[string]error{"signal": errInjected},
			calls:     []string{"signal SIGTERM", "kill"},
			took:      time.Millisecond,
			leftovers: []Leftover{fate(101, Forced, "")},
			forced:    true,
			unasked:   errInjected,
		},
		{
			name:    "members fails",
			members: []*fakeMember{member(101, 0), deaf(102)},
			plan:    term,
			failing: map[string]error{"members": errInjected},
			calls:   []string{"signal SIGTERM", "signal SIGCONT", "kill"},
			took:    2001 * time.Millisecond,
			forced:  true,
		},
		{
			name:      "empty fails: the step lasts, and a look decides",
			members:   []*fakeMember{member(101, time.Second)},
			plan:      term,
			failing:   map[string]error{"empty": errInjected},
			calls:     []string{"signal SIGTERM", "signal SIGCONT"},
			took:      2 * time.Second,
			leftovers: []Leftover{fate(101, Signalled, "SIGTERM")},
		},
		{
			name:      "kill fails",
			members:   []*fakeMember{deaf(101)},
			plan:      term,
			failing:   map[string]error{"kill": errInjected},
			calls:     []string{"signal SIGTERM", "signal SIGCONT", "kill"},
			took:      2*time.Second + KillPatience,
			leftovers: []Leftover{fate(101, Survived, "")},
			forced:    true,
		},
		{
			name:    "standard input is closed, and one who does not read gets a signal",
			members: []*fakeMember{{pid: 101, obeys: map[syscall.Signal]time.Duration{closed: time.Second}}, member(102, 0)},
			plan:    Plan{{CloseStdin, 2 * time.Second}, {syscall.SIGTERM, time.Second}},
			calls:   []string{"close", "signal SIGCONT", "signal SIGTERM", "signal SIGCONT"},
			took:    2 * time.Second,
			leftovers: []Leftover{
				fate(101, Signalled, "stdin"), fate(102, Signalled, "SIGTERM"),
			},
		},
		{
			name:      "whom nobody may signal may read, and has the time",
			members:   []*fakeMember{{pid: 101, obeys: map[syscall.Signal]time.Duration{closed: time.Second}}},
			plan:      Plan{{CloseStdin, 2 * time.Second}},
			failing:   map[string]error{"signal": os.ErrPermission},
			calls:     []string{"close", "signal SIGCONT"},
			took:      time.Second,
			leftovers: []Leftover{fate(101, Signalled, "stdin")},
		},
		{
			name:      "nothing to close: the next step comes at once",
			members:   []*fakeMember{member(101, time.Second)},
			plan:      Plan{{CloseStdin, time.Hour}, {syscall.SIGTERM, 2 * time.Second}},
			failing:   map[string]error{"close": errInjected},
			calls:     []string{"close", "signal SIGTERM", "signal SIGCONT"},
			took:      time.Second,
			leftovers: []Leftover{fate(101, Signalled, "SIGTERM")},
			unasked:   errInjected,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				fake := newFake(tt.members...)
				fake.failing = tt.failing
				s := New(fake, tt.plan, leaderPID, slog.New(slog.DiscardHandler))
				s.CloseInput = fake.closeInput
				s.why = func(Leftover) string { return "because" }
				told := listen(s)
				if tt.force > 0 {
					time.AfterFunc(tt.force, s.Force)
				}
				began := time.Now()
				s.Run()
				if took := time.Since(began); took != tt.took {
					t.Errorf("took %v, want %v", took, tt.took)
				}
				if resume == nil {
					tt.calls = slices.DeleteFunc(tt.calls, func(call string) bool { return call == "signal SIGCONT" })
				}
				if diff := diff.Of(tt.calls, fake.calls); diff != "" {
					t.Errorf("calls:\n%s", diff)
				}
				told.check(t, s, fake.calls)
				if diff := diff.Of(tt.leftovers, s.Leftovers); diff != "" {
					t.Errorf("leftovers:\n%s", diff)
				}
				if !errors.Is(s.SignalErr, tt.unasked) {
					t.Errorf("nobody was asked: %v, want %v", s.SignalErr, tt.unasked)
				}
				if s.Killed != tt.forced {
					t.Errorf("Killed = %v, want %v", s.Killed, tt.forced)
				}
				if s.LeaderAlive != tt.leader {
					t.Errorf("LeaderAlive = %v, want %v", s.LeaderAlive, tt.leader)
				}
			})
		})
	}
}

// TestStopperFailures lets each call that a stop makes fail once. Whatever fails,
// the stop ends in time, and says of a member that still lives that it does.
func TestStopperFailures(t *testing.T) {
	for nth := 1; ; nth++ {
		reached := true
		t.Run("", func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				fake := newFake(member(leaderPID, 0), member(101, time.Second), deaf(102))
				fake.failNth = nth
				s := New(fake, Plan{{syscall.SIGINT, time.Second}, {syscall.SIGTERM, 2 * time.Second}}, leaderPID, slog.New(slog.DiscardHandler))
				s.why = func(Leftover) string { return "because" }
				began := time.Now()
				s.Run()
				if took := time.Since(began); took > 3*time.Second+KillPatience {
					t.Errorf("call %d failed: took %v", nth, took)
				}
				fake.failNth = 0
				rows, _ := fake.Members()
				var alive, left []int
				for _, row := range rows {
					alive = append(alive, row.PID)
				}
				for _, l := range s.Leftovers {
					if l.Fate == Survived {
						left = append(left, l.PID)
					}
				}
				if s.LeaderAlive {
					left = append(left, leaderPID)
				}
				slices.Sort(alive)
				slices.Sort(left)
				if diff := diff.Of(alive, left); diff != "" {
					t.Errorf("call %d failed: alive and reported differ:\n%s", nth, diff)
				}
				reached = fake.nth > nth
			})
		})
		if !reached {
			return
		}
	}
}

// lateContainment is told late that nobody waits any more.
type lateContainment struct{ *fakeContainment }

func (l lateContainment) AwaitEmpty(ctx context.Context) error {
	<-ctx.Done()
	time.Sleep(time.Millisecond)
	return ctx.Err()
}

// TestKillComes: who is gone when a kill from outside has cut a step short has been
// killed, whether the end of the step or a look has noticed that. Who is gone when the
// step was only cut short has obeyed.
func TestKillComes(t *testing.T) {
	killed := func(s *Stopper, fake *fakeContainment) {
		s.KillComes()
		fake.Kill()
	}
	forced := func(s *Stopper, _ *fakeContainment) { s.Force() }
	for _, tt := range []struct {
		name  string
		late  bool
		obeys time.Duration // SIGTERM
		act   func(*Stopper, *fakeContainment)
		fate  string
		told  []string
	}{
		{"killed", false, time.Hour, killed, Forced, []string{"SIGTERM", Kill}},
		{"killed, and a look sees it", true, time.Hour, killed, Forced, []string{"SIGTERM", Kill}},
		{"forced", false, time.Hour, forced, Forced, []string{"SIGTERM", Kill}},
		{"forced, and it obeys", true, time.Second, forced, Signalled, []string{"SIGTERM"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				fake := newFake(&fakeMember{pid: 101, obeys: map[syscall.Signal]time.Duration{syscall.SIGTERM: tt.obeys, syscall.SIGKILL: 0}})
				var cont Members = fake
				if tt.late {
					cont = lateContainment{fake}
				}
				s := New(cont, Plan{{syscall.SIGTERM, time.Minute}}, leaderPID, slog.New(slog.DiscardHandler))
				var told []string
				s.OnStep = func(step Taken) { told = append(told, step.Signal) }
				time.AfterFunc(time.Second, func() { tt.act(s, fake) })
				s.Run()
				signal := ""
				if tt.fate == Signalled {
					signal = "SIGTERM"
				}
				if diff := diff.Of([]Leftover{recordWith(101, tt.fate, signal)}, s.Leftovers); diff != "" {
					t.Errorf("leftovers:\n%s", diff)
				}
				if !slices.Equal(told, tt.told) || s.Killed != (tt.fate == Forced) {
					t.Errorf("told %v, killed %v; want %v", told, s.Killed, tt.told)
				}
			})
		})
	}
}
