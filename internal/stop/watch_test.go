//go:build linux || darwin || freebsd || windows

package stop

import (
	"log/slog"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/corral-run/corral/internal/diff"
	"github.com/corral-run/corral/internal/proctree"
)

// told is what a stop tells while it goes on.
type told struct {
	steps []Taken
	met   []Met
}

func listen(s *Stopper) *told {
	t := new(told)
	s.OnStep = func(step Taken) { t.steps = append(t.steps, step) }
	s.OnMet = func(m Met) { t.met = append(t.met, m) }
	return t
}

// check compares what has been told with what the stop has done, and has recorded.
func (told *told) check(t *testing.T, s *Stopper, calls []string) {
	t.Helper()
	var want, got []string
	for _, call := range calls {
		if call = strings.TrimPrefix(call, "signal "); call == "close" {
			call = SignalName(CloseStdin)
		}
		if !strings.Contains(call, "SIGCONT") { // it comes with each
			want = append(want, call)
		}
	}
	for i, step := range told.steps {
		if got = append(got, step.Signal); step.Number != i+1 || step.Members == 0 {
			t.Errorf("step %d is told as %+v", i+1, step)
		}
	}
	if s.Killed && !slices.Contains(want, Kill) {
		want = append(want, Kill) // by whoever has forced the stop
	}
	if d := diff.Of(want, got); d != "" {
		t.Errorf("the calls (want) and the steps that are told (got):\n%s", d)
	}
	var left, met []proctree.ID
	for _, l := range s.Leftovers {
		left = append(left, l.ID)
	}
	for _, m := range told.met {
		met = append(met, m.ID)
	}
	for _, ids := range [][]proctree.ID{left, met} {
		slices.SortFunc(ids, func(a, b proctree.ID) int { return a.PID - b.PID })
	}
	if d := diff.Of(left, met); d != "" {
		t.Errorf("the leftovers (want) and who is told of (got):\n%s", d)
	}
}

// TestOnStep: a step is told once it has been taken, with how many there were, and why
// it has reached nobody.
func TestOnStep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fake := newFake(member(leaderPID, time.Second), deaf(102))
		fake.failing["close"] = errInjected
		s := New(fake, Plan{{CloseStdin, time.Hour}, {syscall.SIGTERM, 2 * time.Second}}, leaderPID, slog.New(slog.DiscardHandler))
		s.CloseInput = fake.closeInput
		s.why = func(Leftover) string { return "because" }
		told := listen(s)
		s.Run()
		want := []Taken{
			{1, SignalName(CloseStdin), time.Hour, 2, errInjected},
			{2, SignalName(syscall.SIGTERM), 2 * time.Second, 2, nil},
			{3, Kill, KillPatience, 1, nil},
		}
		if d := diff.Of(want, told.steps); d != "" {
			t.Error(d)
		}
	})
}

// TestOnStepUnknown: a number that is not known is not told as one.
func TestOnStepUnknown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fake := newFake(deaf(102))
		fake.failing["members"] = errInjected
		s := New(fake, Plan{{syscall.SIGTERM, time.Second}}, leaderPID, slog.New(slog.DiscardHandler))
		told := listen(s)
		s.Run()
		if len(told.steps) != 2 || told.steps[0].Members != unknown || told.steps[1].Members != unknown {
			t.Errorf("steps: %+v", told.steps)
		}
	})
}

// TestOnMetHelper: of a helper of another run nobody is told, and of one without a
// name in the end.
func TestOnMetHelper(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(newFake(), nil, leaderPID, slog.New(slog.DiscardHandler))
		told := listen(s)
		rows := []proctree.Process{{ID: proctree.ID{PID: 101}, Name: "a"}, {ID: proctree.ID{PID: 102}, Name: "b"}, {ID: proctree.ID{PID: 103}, Name: "c"}}
		s.record(Sight{Members: rows}, "", "")
		if s.tellMet(false); len(told.met) != 0 {
			t.Errorf("without names: %+v", told.met)
		}
		rows[0].Args = []string{"named"}
		s.rename(rows[:2])
		s.helpers[rows[1].ID] = true
		if s.tellMet(false); len(told.met) != 1 || told.met[0].Command[0] != "named" || told.met[0].Name != "a" {
			t.Errorf("with names: %+v", told.met)
		}
		s.dropHelpers()
		s.tellMet(true)
		s.tellMet(true)
		told.check(t, s, nil)
	})
}
