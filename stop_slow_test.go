//go:build linux || darwin || freebsd || windows

package corral

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
	"github.com/corral-run/corral/internal/proctree"
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

func (c *slowContainment) signal(sigs ...os.Signal) error {
	c.tell()
	time.Sleep(c.takes["signal"])
	return c.fakeContainment.signal(sigs...)
}

func (c *slowContainment) kill() error {
	c.tell()
	time.Sleep(c.takes["kill"])
	return c.fakeContainment.kill()
}

func (c *slowContainment) members() ([]proctree.Process, error) {
	rows, err := c.fakeContainment.members()
	time.Sleep(c.takes["members"])
	return rows, err
}

func (c *slowContainment) empty(ctx context.Context) error { return c.fakeContainment.empty(ctx) }

// TestStopperSlow: whatever takes its time, nobody waits longer for a signal than is
// said, the kill comes in time, and what has not been seen is not taken for nothing.
func TestStopperSlow(t *testing.T) {
	const hour = time.Hour
	term := plan{{syscall.SIGTERM, 2 * time.Second}}
	for _, tt := range []struct {
		name    string
		members []*fakeMember
		takes   map[string]time.Duration
		failing map[string]error
		force   time.Duration
		told    []time.Duration
		took    time.Duration
		left    []record
		unknown bool
	}{
		{
			name: "a look takes ever, and the members obey", takes: map[string]time.Duration{"members": hour},
			members: []*fakeMember{member(101, time.Second)},
			told:    []time.Duration{lookPatience}, took: lookPatience + time.Second + lastLookPatience,
		},
		{
			name: "a look takes ever, and the members do not obey", takes: map[string]time.Duration{"members": hour},
			members: []*fakeMember{deaf(101)},
			told:    []time.Duration{lookPatience, 2*lookPatience + 2*time.Second},
			took:    2*lookPatience + 2*time.Second + time.Millisecond + lastLookPatience,
		},
		{
			name: "a look takes ever, and a member survives", takes: map[string]time.Duration{"members": hour},
			members: []*fakeMember{{pid: 101}}, unknown: true,
			told: []time.Duration{lookPatience, 2*lookPatience + 2*time.Second},
			took: 2*lookPatience + 2*time.Second + killPatience + lastLookPatience,
		},
		{
			name: "a look fails, and a member survives", failing: map[string]error{"members": errInjected},
			members: []*fakeMember{{pid: 101}}, unknown: true,
			told: []time.Duration{0, 2 * time.Second}, took: 2*time.Second + killPatience,
		},
		{
			name: "a look fails, and so does the wait", failing: map[string]error{"members": errInjected, "empty": errInjected},
			members: []*fakeMember{member(101, 0)}, unknown: true,
			told: []time.Duration{0, 2 * time.Second}, took: 2*time.Second + killPatience,
		},
		{
			name: "a look is late", takes: map[string]time.Duration{"members": 2 * lookPatience},
			members: []*fakeMember{member(101, time.Second)},
			told:    []time.Duration{lookPatience}, took: lookPatience + time.Second,
			left: []record{recordWith(101, fateSignalled, "SIGTERM")},
		},
		{
			name: "a signal takes ever", takes: map[string]time.Duration{"signal": hour},
			members: []*fakeMember{deaf(101)},
			told:    []time.Duration{0, 2 * time.Second}, took: 2*time.Second + time.Millisecond,
			left: []record{recordWith(101, fateForced, "")},
		},
		{
			name: "a signal takes ever, and force is wanted", takes: map[string]time.Duration{"signal": hour}, force: time.Second,
			members: []*fakeMember{deaf(101)},
			told:    []time.Duration{0, time.Second}, took: time.Second + time.Millisecond,
			left: []record{recordWith(101, fateForced, "")},
		},
		{
			name: "a signal counts as a part of the step", takes: map[string]time.Duration{"signal": time.Second},
			members: []*fakeMember{deaf(101)},
			told:    []time.Duration{0, 2 * time.Second}, took: 2*time.Second + time.Millisecond,
			left: []record{recordWith(101, fateForced, "")},
		},
		{
			name: "a kill takes ever", takes: map[string]time.Duration{"kill": hour},
			members: []*fakeMember{deaf(101)},
			told:    []time.Duration{0, 2 * time.Second}, took: 2*time.Second + killPatience,
			left: []record{recordWith(101, fateSurvived, "")},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				fake := newFake(tt.members...)
				fake.failing = tt.failing
				slow := &slowContainment{fakeContainment: fake, takes: tt.takes, began: time.Now()}
				s := newStopper(slow, term, leaderPID, slog.New(slog.DiscardHandler))
				s.why = func(record) string { return "because" }
				if tt.force > 0 {
					time.AfterFunc(tt.force, s.force)
				}
				s.run()
				if took := time.Since(slow.began); took != tt.took {
					t.Errorf("took %v, want %v", took, tt.took)
				}
				s.busy.Wait() // as a run does before it closes the containment
				if !slices.Equal(slow.told, tt.told) {
					t.Errorf("signals after %v, want %v", slow.told, tt.told)
				}
				if diff := diff.Of(tt.left, s.leftovers); diff != "" {
					t.Errorf("leftovers:\n%s", diff)
				}
				if got := s.unknown != nil; got != tt.unknown {
					t.Errorf("%v; want an error that says that nothing is known: %v", s.unknown, tt.unknown)
				}
			})
		})
	}
}

// TestStopperNames: a name is the one that a member had when it was last seen, a member
// that is gone has not survived, and the helpers of another run are no leftovers.
func TestStopperNames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fake := &renaming{fakeContainment: newFake(member(101, time.Second), deaf(102), deaf(103))}
		s := newStopper(fake, plan{{syscall.SIGTERM, 2 * time.Second}}, leaderPID, slog.New(slog.DiscardHandler))
		s.run()
		want := []record{
			{ID: proctree.ID{PID: 101, Start: 101}, Command: []string{"before"}, Fate: fateSignalled, Signal: "SIGTERM"},
			{ID: proctree.ID{PID: 102, Start: 102}, Command: []string{"after"}, Fate: fateForced},
		}
		if diff := diff.Of(want, s.leftovers); diff != "" {
			t.Errorf("leftovers:\n%s", diff)
		}
	})
}

const otherRole = "corral-test"

func init() { Role(otherRole, nil) }

// renaming has members that execute something between two looks; 103 is a helper.
type renaming struct {
	*fakeContainment
	looks int
}

func (c *renaming) members() ([]proctree.Process, error) {
	rows, err := c.fakeContainment.members()
	c.looks++
	for i := range rows {
		switch {
		case rows[i].PID == 103:
			rows[i].Args = []string{otherRole}
		case c.looks == 1:
			rows[i].Args = []string{"before"}
		default:
			rows[i].Args = []string{"after"}
		}
	}
	return rows, err
}
