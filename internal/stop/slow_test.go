//go:build linux || darwin || freebsd || windows

package stop

import (
	"context"
	"log/slog"
	"os"
	"slices"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/corral-run/corral/internal/diff"
	"github.com/corral-run/corral/internal/helper"
	"github.com/corral-run/corral/internal/proctree"
	"github.com/corral-run/corral/internal/winetest"
)

// slowContainment takes its time for what it is asked, by the name of the call.
type slowContainment struct {
	*fakeContainment
	takes map[string]time.Duration
	told  []time.Duration // when something was sent, since the start
	began time.Time
}

func (c *slowContainment) tell() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.told = append(c.told, time.Since(c.began))
}

func (c *slowContainment) Signal(sigs ...os.Signal) error {
	c.tell()
	time.Sleep(c.takes["signal"])
	return c.fakeContainment.Signal(sigs...)
}

func (c *slowContainment) Kill() error {
	c.tell()
	time.Sleep(c.takes["kill"])
	return c.fakeContainment.Kill()
}

func (c *slowContainment) Members() ([]proctree.Process, error) {
	rows, err := c.fakeContainment.Members()
	time.Sleep(c.takes["members"])
	return rows, err
}

func (c *slowContainment) AwaitEmpty(ctx context.Context) error {
	return c.fakeContainment.AwaitEmpty(ctx)
}

// TestStopperSlow: whatever takes its time, nobody waits longer for a signal than
// is said, the kill comes in time, and what has not been seen is not taken for
// nothing.
func TestStopperSlow(t *testing.T) {
	const hour = time.Hour
	term := Plan{{syscall.SIGTERM, 2 * time.Second}}
	for _, tt := range []struct {
		name    string
		members []*fakeMember
		takes   map[string]time.Duration
		failing map[string]error
		force   time.Duration
		told    []time.Duration
		took    time.Duration
		left    []Leftover
		unknown bool
	}{
		{
			name: "a look takes ever, and the members obey", takes: map[string]time.Duration{"members": hour},
			members: []*fakeMember{member(101, time.Second)},
			told:    []time.Duration{LookPatience}, took: LookPatience + time.Second + LastLookPatience,
		},
		{
			name: "a look takes ever, and the members do not obey", takes: map[string]time.Duration{"members": hour},
			members: []*fakeMember{deaf(101)},
			told:    []time.Duration{LookPatience, LookPatience + 2*time.Second},
			took:    LookPatience + 2*time.Second + time.Millisecond + LastLookPatience,
		},
		{
			name: "a look takes ever, and a member survives", takes: map[string]time.Duration{"members": hour},
			members: []*fakeMember{{pid: 101}}, unknown: true,
			told: []time.Duration{LookPatience, LookPatience + 2*time.Second},
			took: LookPatience + 2*time.Second + KillPatience + LastLookPatience,
		},
		{
			name: "a look fails, and a member survives", failing: map[string]error{"members": errInjected},
			members: []*fakeMember{{pid: 101}}, unknown: true,
			told: []time.Duration{0, 2 * time.Second}, took: 2*time.Second + KillPatience,
		},
		{
			name: "a look fails, and so does the wait", failing: map[string]error{"members": errInjected, "empty": errInjected},
			members: []*fakeMember{member(101, 0)}, unknown: true,
			told: []time.Duration{0, 2 * time.Second}, took: 2*time.Second + KillPatience,
		},
		{
			name: "a look is late", takes: map[string]time.Duration{"members": 2 * LookPatience},
			members: []*fakeMember{member(101, time.Second)},
			told:    []time.Duration{LookPatience}, took: LookPatience + time.Second,
			left: []Leftover{recordWith(101, Signalled, "SIGTERM")},
		},
		{
			name: "a signal takes ever", takes: map[string]time.Duration{"signal": hour},
			members: []*fakeMember{deaf(101)},
			told:    []time.Duration{0, 2 * time.Second}, took: 2*time.Second + time.Millisecond,
			left: []Leftover{recordWith(101, Forced, "")},
		},
		{
			name: "a signal takes ever, and force is wanted", takes: map[string]time.Duration{"signal": hour}, force: time.Second,
			members: []*fakeMember{deaf(101)},
			told:    []time.Duration{0, time.Second}, took: time.Second + time.Millisecond,
			left: []Leftover{recordWith(101, Forced, "")},
		},
		{
			name: "a signal counts as a part of the step", takes: map[string]time.Duration{"signal": time.Second},
			members: []*fakeMember{deaf(101)},
			told:    []time.Duration{0, 2 * time.Second}, took: 2*time.Second + time.Millisecond,
			left: []Leftover{recordWith(101, Forced, "")},
		},
		{
			name: "a kill takes ever", takes: map[string]time.Duration{"kill": hour},
			members: []*fakeMember{deaf(101)},
			told:    []time.Duration{0, 2 * time.Second}, took: 2*time.Second + KillPatience,
			left: []Leftover{recordWith(101, Survived, "")},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				fake := newFake(tt.members...)
				fake.failing = tt.failing
				slow := &slowContainment{fakeContainment: fake, takes: tt.takes, began: time.Now()}
				s := New(slow, term, leaderPID, slog.New(slog.DiscardHandler))
				s.why = func(Leftover) string { return "because" }
				if tt.force > 0 {
					time.AfterFunc(tt.force, s.Force)
				}
				s.Run()
				if took := time.Since(slow.began); took != tt.took {
					t.Errorf("took %v, want %v", took, tt.took)
				}
				s.WaitIdle() // as a run does before it closes the containment
				if !slices.Equal(slow.told, tt.told) {
					t.Errorf("signals after %v, want %v", slow.told, tt.told)
				}
				if diff := diff.Of(tt.left, s.Leftovers); diff != "" {
					t.Errorf("leftovers:\n%s", diff)
				}
				if got := s.LookErr != nil; got != tt.unknown {
					t.Errorf("%v; want an error that says that nothing is known: %v", s.LookErr, tt.unknown)
				}
			})
		})
	}
}

// TestStopperJoinsLook: a stop that begins while its caller looks waits for that look,
// as for its own: who has obeyed a signal has not been forced.
func TestStopperJoinsLook(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fake := newFake(member(101, LookPatience/4), deaf(102))
		s := New(fake, Plan{{syscall.SIGTERM, 2 * time.Second}}, leaderPID, slog.New(slog.DiscardHandler))
		seen := make(chan Sight, 1)
		s.Looking = Look{seen, time.Now()}
		go func() {
			time.Sleep(LookPatience / 2)
			rows, err := fake.Members()
			seen <- Sight{rows, err}
		}()
		s.Run()
		want := []Leftover{recordWith(101, Signalled, "SIGTERM"), recordWith(102, Forced, "")}
		if diff := diff.Of(want, s.Leftovers); diff != "" {
			t.Errorf("leftovers:\n%s", diff)
		}
	})
}

// TestStopperNames: a name is the one that a member had when it was last seen, a
// member that is gone has not survived, and the helpers of another run are no
// leftovers.
func TestStopperNames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fake := &renaming{fakeContainment: newFake(member(101, time.Second), deaf(102), deaf(103), deaf(104))}
		s := New(fake, Plan{{syscall.SIGTERM, 2 * time.Second}}, leaderPID, slog.New(slog.DiscardHandler))
		s.Run()
		want := []Leftover{
			{ID: proctree.ID{PID: 101, Start: 101}, Command: []string{"before"}, Fate: Signalled, Signal: "SIGTERM"},
			{ID: proctree.ID{PID: 102, Start: 102}, Command: []string{"after"}, Fate: Forced},
			{ID: proctree.ID{PID: 104, Start: 104}, Command: []string{"after"}, Fate: Forced},
		}
		if diff := diff.Of(want, s.Leftovers); diff != "" {
			t.Errorf("leftovers:\n%s", diff)
		}
	})
}

const otherRole = "corral-test"

func init() { helper.Role(otherRole, nil) }

// renaming has members that execute something between two looks; 103 is a helper,
// and 104 the command that a helper has just forked.
type renaming struct {
	*fakeContainment
	looks int
}

func (c *renaming) Members() ([]proctree.Process, error) {
	rows, err := c.fakeContainment.Members()
	c.looks++
	for i := range rows {
		switch {
		case rows[i].PID == 103, rows[i].PID == 104 && c.looks == 1:
			rows[i].Args = []string{otherRole}
		case c.looks == 1:
			rows[i].Args = []string{"before"}
		default:
			rows[i].Args = []string{"after"}
		}
	}
	return rows, err
}

// TestNameAge: whose name has just been read is not read once more.
func TestNameAge(t *testing.T) {
	winetest.Need(t, "version 8.0 tells no command lines")
	self, err := proctree.Brief(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	self.Args = nil
	s := New(newFake(), nil, leaderPID, slog.New(slog.DiscardHandler))
	s.Leftovers = []Leftover{{ID: self.ID}}
	l, enough := &s.Leftovers[0], make(chan time.Time)
	name := func() { s.recordNames([]proctree.Process{self}, enough) }
	if name(); !slices.Equal(l.Command, os.Args) {
		t.Errorf("%q, want %q", l.Command, os.Args)
	}
	l.Command = []string{"as it was"}
	s.named[self.ID] = time.Now().Add(time.Hour) // however slow the machine is
	if name(); !slices.Equal(l.Command, []string{"as it was"}) {
		t.Errorf("read again: %q", l.Command)
	}
	s.named[self.ID] = time.Now().Add(-nameAge)
	if name(); !slices.Equal(l.Command, os.Args) {
		t.Errorf("an old name: %q, want %q", l.Command, os.Args)
	}
}
