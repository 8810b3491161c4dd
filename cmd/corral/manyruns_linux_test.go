package main

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/corral-run/corral/internal/proctree"
	"github.com/corral-run/corral/internal/registry"
	"golang.org/x/sys/unix"
)

// fleet is many runs in the background, in a registry of their own.
type fleet struct {
	*testing.T
	env   []string
	state *registry.Dir
	hold  *os.File // a FIFO: the commands read from it as long as it is open

	mu     sync.Mutex
	runs   map[string]*fleetRun
	killed map[string]bool // by ID
}

type fleetRun struct {
	id, label     string
	owner, leader *proctree.Handle
	ownerID       proctree.ID
}

// newFleet has place for runs in a directory of a short name, as a socket's path is.
func newFleet(t *testing.T) *fleet {
	t.Helper()
	dir, err := os.MkdirTemp("", "fleet")
	if err != nil {
		t.Fatal(err)
	}
	runtime, state := filepath.Join(dir, "r"), filepath.Join(dir, "s")
	for _, d := range []string{runtime, state} {
		if err := os.Mkdir(d, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	f := &fleet{T: t, env: append(os.Environ(), "XDG_RUNTIME_DIR="+runtime, "TMPDIR="+dir, "XDG_STATE_HOME="+state),
		runs: make(map[string]*fleetRun), killed: make(map[string]bool)}
	if f.state, err = registry.OpenDir(filepath.Join(state, "corral"), os.Geteuid(), true); err != nil {
		t.Fatal(err)
	}
	hold := filepath.Join(dir, "hold")
	if err := unix.Mkfifo(hold, 0o600); err != nil {
		t.Fatal(err)
	}
	if f.hold, err = os.OpenFile(hold, os.O_RDWR, 0); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		f.corral("stop", "--all", "--signal", "KILL")
		for _, r := range f.runs {
			r.owner.Signal(os.Kill)
			r.leader.Signal(os.Kill)
			r.owner.Close()
			r.leader.Close()
		}
		f.state.Close()
		f.hold.Close()
		os.RemoveAll(dir)
	})
	return f
}

// corral runs a command of corral, and returns what it says.
func (f *fleet) corral(args ...string) (string, error) {
	cmd := exec.Command("corral", args...)
	cmd.Env = f.env
	out, err := cmd.Output()
	if exited, ok := err.(*exec.ExitError); ok {
		err = fmt.Errorf("corral %s: %w: %s", strings.Join(args, " "), err, exited.Stderr)
	}
	return string(out), err
}

// must is corral that has to succeed.
func (f *fleet) must(args ...string) string {
	f.Helper()
	out, err := f.corral(args...)
	if err != nil {
		f.Error(err)
	}
	return out
}

// start starts a run. Its command lives until it is stopped, or this process ends.
func (f *fleet) start(i int) *fleetRun {
	r := &fleetRun{label: fmt.Sprint("g", i%4)}
	out := f.must("run", "--detach", "--name", fmt.Sprint("run", i), "--label", "group="+r.label, "--label", "all", "--grace", "1m", "--", "sh", "-c", `read word <"$0"`, f.hold.Name())
	r.id = strings.TrimSpace(out)
	e, err := f.state.Read(r.id + recordSuffix)
	if err != nil {
		f.Error(err)
		return nil
	}
	r.ownerID = proctree.ID{PID: e.Owner.PID, Start: e.Owner.Start}
	leader, err := proctree.Identify(e.Leader.PID)
	if err == nil {
		r.leader, err = proctree.Open(leader)
	}
	if err == nil {
		r.owner, err = proctree.Open(r.ownerID)
	}
	if err != nil {
		f.Error(err)
		return nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.runs[r.id] = r
	return r
}

// kill kills the owner of a run.
func (f *fleet) kill(r *fleetRun) {
	f.mu.Lock()
	f.killed[r.id] = true
	f.mu.Unlock()
	if err := r.owner.Signal(os.Kill); err != nil {
		f.Error(err)
	}
}

// gone waits until a run has no owner and no command any more.
func (f *fleet) gone(r *fleetRun) {
	f.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for what, h := range map[string]*proctree.Handle{"owner": r.owner, "command": r.leader} {
		if err := h.Wait(ctx); err != nil {
			f.Errorf("the %s of %s: %v", what, r.id, err)
		}
	}
}

// list are the IDs that ps writes.
func (f *fleet) list(flags ...string) []string {
	f.Helper()
	ids := strings.Fields(f.must(append([]string{"ps", "--quiet"}, flags...)...))
	slices.Sort(ids)
	return ids
}

// expect are the IDs of the runs that are as wanted.
func (f *fleet) expect(wanted func(*fleetRun) bool) (ids []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for id, r := range f.runs {
		if wanted(r) {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}

func (f *fleet) same(what string, got, want []string) {
	f.Helper()
	if !slices.Equal(got, want) {
		f.Errorf("%s: %d runs, want %d\n%q\n%q", what, len(got), len(want), got, want)
	}
}

// each does something with so many, some at the same time.
func each[T any](all []T, do func(T)) {
	places := make(chan struct{}, 8)
	var busy sync.WaitGroup
	for _, one := range all {
		places <- struct{}{}
		busy.Go(func() {
			do(one)
			<-places
		})
	}
	busy.Wait()
}

// TestManyRuns: many runs at the same time, of which random owners get SIGKILL while
// others are started, listed and stopped. The list has those that live, with their
// labels; what is stopped is gone, and what was killed too; in the end nothing remains.
func TestManyRuns(t *testing.T) {
	count := 200
	if testing.Short() {
		count = 16
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	victim := make([]bool, count)
	for i := range victim {
		victim[i] = random.IntN(4) == 0
	}
	f := newFleet(t)

	// They are started, some are killed at once, and somebody lists all the time.
	over := make(chan struct{})
	var watcher sync.WaitGroup
	watcher.Go(func() {
		for {
			var list []runJSON
			if out := f.must("ps", "--json"); json.Unmarshal([]byte(out), &list) != nil {
				t.Errorf("ps writes %q", out)
			}
			for _, r := range list {
				if r.State != stateRunning || !strings.HasPrefix(r.Name, "run") || r.Labels["group"] == "" {
					t.Errorf("%+v", r)
				}
			}
			select {
			case <-over:
				return
			default:
			}
		}
	})
	numbers := make([]int, count)
	for i := range numbers {
		numbers[i] = i
	}
	each(numbers, func(i int) {
		if r := f.start(i); r != nil && victim[i] {
			f.kill(r)
		}
	})
	close(over)
	watcher.Wait()
	if len(f.runs) != count {
		t.Fatalf("%d runs; want %d", len(f.runs), count)
	}
	alive := func(r *fleetRun) bool { return !f.killed[r.id] }
	for _, id := range f.expect(func(r *fleetRun) bool { return !alive(r) }) {
		f.gone(f.runs[id])
	}
	f.same("all that live", f.list(), f.expect(alive))
	for _, label := range []string{"g0", "g1", "g2", "g3"} {
		f.same(label, f.list("--label", "group="+label, "--label", "all"), f.expect(func(r *fleetRun) bool { return alive(r) && r.label == label }))
	}

	// One label is stopped while random owners of another one are killed, and of those
	// that are being stopped, too.
	var stopping sync.WaitGroup
	stopping.Go(func() { f.must("stop", "--label", "group=g0") })
	for _, id := range f.expect(func(r *fleetRun) bool { return alive(r) && r.label == "g1" }) {
		if random.IntN(2) == 0 {
			f.kill(f.runs[id])
		}
	}
	stopping.Wait()
	stopped := func(r *fleetRun) bool { return r.label == "g0" }
	for _, id := range f.expect(func(r *fleetRun) bool { return !alive(r) || stopped(r) }) {
		f.gone(f.runs[id])
	}
	f.same("after one label", f.list(), f.expect(func(r *fleetRun) bool { return alive(r) && !stopped(r) }))

	// The rest is stopped while some of it loses its owner.
	doomed := f.expect(func(r *fleetRun) bool { return alive(r) && r.label == "g2" })
	stopping.Go(func() { f.must("stop", "--all") })
	for _, id := range doomed[:len(doomed)/2] {
		f.runs[id].owner.Signal(os.Kill) // it may have ended by now
	}
	stopping.Wait()
	for _, r := range f.runs {
		f.gone(r)
	}
	f.same("in the end", f.list(), nil)
	f.checkRecords(doomed[:len(doomed)/2])

	// Whoever removes what is left does not get into each other's way.
	each([]int{1, 2, 3, 4}, func(int) { f.must("prune") })
	f.same("after prune", f.list("--all"), nil)
	for _, d := range []string{f.state.Path(), filepath.Join(filepath.Dir(filepath.Dir(f.state.Path())), "r", "corral")} {
		if left, err := os.ReadDir(d); err != nil || len(left) > 0 {
			t.Errorf("left in %s: %v, %v", d, left, err)
		}
	}
}

// checkRecords looks at how each run is recorded to have ended. Of some it may be either.
func (f *fleet) checkRecords(either []string) {
	f.Helper()
	var list []runJSON
	if err := json.Unmarshal([]byte(f.must("ps", "--all", "--json")), &list); err != nil {
		f.Fatal(err)
	}
	if len(list) != len(f.runs) {
		f.Errorf("%d records; want %d", len(list), len(f.runs))
	}
	for _, r := range list {
		known := f.runs[r.ID]
		want := stateEnded
		if f.killed[r.ID] {
			want = stateLost
		}
		switch {
		case known == nil:
			f.Errorf("unknown: %+v", r)
		case r.Labels["group"] != known.label:
			f.Errorf("the label: %+v; want %s", r, known.label)
		case r.State != want && !slices.Contains(either, r.ID):
			f.Errorf("%s: %s; want %s", r.ID, r.State, want)
		case r.State == stateEnded && r.Ended.Status != 143:
			f.Errorf("%+v", r.Ended)
		}
	}
}
