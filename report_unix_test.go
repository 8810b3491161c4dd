//go:build linux || darwin || freebsd

package corral

import (
	"errors"
	"fmt"
	"os"
	"reflect"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/corral-run/corral/internal/hold"
	"github.com/corral-run/corral/internal/hold/group"
	"github.com/corral-run/corral/internal/observer"
	"github.com/corral-run/corral/internal/proctree"
	"github.com/corral-run/corral/internal/reach"
	"github.com/corral-run/corral/internal/stop"
)

// leaky is a containment that says what gets away from it.
type leaky struct {
	hold.Containment
	says string
}

func (l leaky) Facts() hold.Facts {
	f := l.Containment.Facts()
	f.BestEffort = l.says
	return f
}

// TestBestEffort: the Report says so if something gets away from a containment.
func TestBestEffort(t *testing.T) {
	rungs := ladder
	defer func() { ladder = rungs }()
	for _, says := range []string{"", "the quick"} {
		ladder = []mechanism{{Group, func(req hold.Request) (hold.Containment, error) {
			group, err := group.Open(req)
			return leaky{group, says}, err
		}}}
		cmd := Command("true")
		if err := cmd.Run(); err != nil {
			t.Error(err)
		} else if got := cmd.Report().BestEffort; got != says {
			t.Errorf("%q, want %q", got, says)
		}
	}
}

// slow is a containment in which a look takes so long, or until a kill.
type slow struct {
	hold.Containment
	look   time.Duration
	killed chan struct{}
	once   sync.Once
}

func (s *slow) Members() ([]proctree.Process, error) {
	defer func() {
		select {
		case <-s.killed:
		case <-time.After(s.look):
		}
	}()
	return s.Containment.Members()
}

func (s *slow) Kill() error {
	defer s.once.Do(func() { close(s.killed) })
	return s.Containment.Kill()
}

// TestLateLook: a look at what the command has left, which the members can make as
// long as they like, does not keep Wait from stopping them. What it has seen is
// reported. If they are to be kept, nobody is stopped.
func TestLateLook(t *testing.T) {
	rungs := ladder
	defer func() { ladder = rungs }()
	const life = 20 * time.Second
	for _, tt := range []struct {
		leftovers LeftoverPolicy
		look      time.Duration
		fate      Fate
	}{
		{KillLeftovers, 2 * life, Forced},
		{FailOnLeftovers, 2 * life, Forced},
		{KeepLeftovers, stop.LookPatience + 200*time.Millisecond, Kept},
	} {
		ladder = []mechanism{{Group, func(req hold.Request) (hold.Containment, error) {
			group, err := group.Open(req)
			return &slow{Containment: group, look: tt.look, killed: make(chan struct{})}, err
		}}}
		cmd := Command("sh", "-c", fmt.Sprintf("sleep %v >&- 2>&- &", life.Seconds()))
		cmd.Leftovers, cmd.StopPlan = tt.leftovers, StopPlan{}
		began := time.Now()
		err := cmd.Run()
		var failed *LeftoverError
		if errors.As(err, &failed) != (tt.leftovers == FailOnLeftovers) || err != nil && failed == nil {
			t.Errorf("%v: error %v", tt.leftovers, err)
		}
		if took := time.Since(began); took > life/2 {
			t.Errorf("%v: it took %v", tt.leftovers, took)
		}
		left := cmd.Report().Leftovers
		if len(left) != 1 || left[0].Fate != tt.fate {
			t.Fatalf("%v: %+v, want one that is %s", tt.leftovers, left, tt.fate)
		}
		row, alive := proctree.Live(proctree.ID{PID: left[0].PID, Start: left[0].Start})
		if alive != (tt.fate == Kept) {
			t.Errorf("%v: %+v", left[0], row)
		}
		if alive {
			reach.SignalProcess(row.ID, os.Kill)
		}
	}
}

// observed gives what is left a moment, as package corraltest does.
type observed struct{ left chan []proctree.Process }

func (observed) Starting() error                { return nil }
func (observed) Started(error, func() error)    {}
func (observed) Patience() time.Duration        { return 10 * time.Millisecond }
func (o observed) Left(rows []proctree.Process) { o.left <- rows }

// TestLateLookObserved: nor does it where what is left has a moment to end.
func TestLateLookObserved(t *testing.T) {
	rungs := ladder
	defer func() { ladder = rungs }()
	const life = 20 * time.Second
	ladder = []mechanism{{Group, func(req hold.Request) (hold.Containment, error) {
		group, err := group.Open(req)
		return &slow{Containment: group, look: 2 * life, killed: make(chan struct{})}, err
	}}}
	o := observed{make(chan []proctree.Process, 1)}
	cmd := CommandContext(observer.With(t.Context(), o), "sh", "-c", fmt.Sprintf("sleep %v >&- 2>&- &", life.Seconds()))
	cmd.StopPlan = StopPlan{}
	began := time.Now()
	if err := cmd.Run(); err != nil {
		t.Error(err)
	}
	if took := time.Since(began); took > life/2 {
		t.Errorf("it took %v", took)
	}
}

// TestHeldIsNotObserved: what is held is not told of as left.
func TestHeldIsNotObserved(t *testing.T) {
	o := observed{make(chan []proctree.Process, 1)}
	scope := new(Scope)
	cmd := CommandContext(observer.With(t.Context(), o), "sh", "-c", "sleep 20 >&- 2>&- &")
	cmd.Scope, cmd.Leftovers = scope, HoldLeftovers
	if err := cmd.Run(); errors.As(err, new(*ContainmentError)) {
		t.Skip("SKIPPED: ", err)
	} else if err != nil {
		t.Fatal(err)
	}
	if r, err := scope.Close(t.Context()); err != nil || len(r.Leftovers) != 1 {
		t.Errorf("Close: %+v, %v", r, err)
	}
	select {
	case rows := <-o.left:
		t.Errorf("told of %v", rows)
	default:
	}
}

// fixed is a containment with these members.
type fixed struct {
	hold.Containment
	rows []proctree.Process
}

func (f fixed) Members() ([]proctree.Process, error) { return slices.Clone(f.rows), nil }

// TestPartOfARun: a process's part of a run is who descends from it, and not who is
// older, as the child of another one is whose PID it has got.
func TestPartOfARun(t *testing.T) {
	row := func(pid, ppid int, start uint64) proctree.Process {
		return proctree.Process{ID: proctree.ID{PID: pid, Start: start}, PPID: ppid}
	}
	rows := []proctree.Process{row(13, 12, 6), row(10, 1, 5), row(11, 10, 4), row(12, 10, 5), row(14, 11, 7)}
	p := &part{r: &run{cont: &choice{Containment: fixed{rows: rows}}}, met: map[proctree.ID]bool{rows[1].ID: true}}
	got, err := p.Members()
	if want := []proctree.Process{rows[0], rows[1], rows[3]}; err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%v, %v; want %v", got, err, want)
	}
}

// TestLateLookKeep: nor does the look for whom to keep.
func TestLateLookKeep(t *testing.T) {
	rungs := ladder
	defer func() { ladder = rungs }()
	for i, rung := range ladder {
		if rung.name == Keeper {
			ladder = []mechanism{{Keeper, func(req hold.Request) (hold.Containment, error) {
				c, err := rungs[i].open(req)
				return &slow{Containment: c, look: time.Minute, killed: make(chan struct{})}, err
			}}}
		}
	}
	cmd := Command("sh", "-c", "sleep 60 >&- 2>&- &")
	cmd.Containment, cmd.Require, cmd.StopPlan = Keeper, Keeper, StopPlan{}
	cmd.Keep = func(Process) bool { return true }
	began := time.Now()
	err := cmd.Run()
	if errors.As(err, new(*ContainmentError)) {
		t.Skip("SKIPPED: ", err)
	}
	// It has keepPatience, and the looks of the stop have theirs.
	if took := time.Since(began); err != nil || took > time.Minute/2 {
		t.Errorf("error %v after %v", err, took)
	}
	if r := cmd.Report(); len(r.Leftovers) != 1 || r.Leftovers[0].Fate != Forced {
		t.Errorf("%+v", r)
	}
}
