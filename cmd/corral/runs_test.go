//go:build linux || darwin || freebsd || windows

package main

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/corral-run/corral/internal/proctree"
	"github.com/corral-run/corral/internal/registry"
)

func TestLastLines(t *testing.T) {
	for _, c := range []struct {
		text string
		n    int
		want string
	}{
		{"a\nb\nc\n", -1, "a\nb\nc\n"}, {"a\nb\nc\n", 0, ""}, {"a\nb\nc\n", 1, "c\n"}, {"a\nb\nc\n", 2, "b\nc\n"}, {"a\nb\nc\n", 3, "a\nb\nc\n"},
		{"a\nb\nc\n", 9, "a\nb\nc\n"}, {"a\nb", 1, "b"}, {"a\n\n", 1, "\n"}, {"", 1, ""}, {"\n", 1, "\n"}, {"a", 1, "a"}, {"a\n\nb\n", 2, "\nb\n"},
	} {
		if got := string(lastLines([]byte(c.text), c.n)); got != c.want {
			t.Errorf("%q, %d: %q; want %q", c.text, c.n, got, c.want)
		}
	}
}

func TestLabelsValue(t *testing.T) {
	l := labels{}
	for _, s := range []string{"b=2,a=1", "tier", "a=3", "x=y=z"} {
		if err := l.Set(s); err != nil {
			t.Errorf("%q: %v", s, err)
		}
	}
	if got, want := l.String(), "a=3,b=2,tier,x=y=z"; got != want {
		t.Errorf("%q; want %q", got, want)
	}
	for _, s := range []string{"", "=x", "a=1,,b=2", strings.Repeat("x", 1000)} {
		if err := l.Set(s); err == nil {
			t.Errorf("%q is taken", s)
		}
	}
	again := labels{}
	if err := again.Set(l.String()); err != nil || again.String() != l.String() {
		t.Errorf("%q, %v", again, err)
	}
}

func TestPick(t *testing.T) {
	run := func(id, name string, state runState, minute int) *knownRun {
		return &knownRun{Entry: registry.Entry{ID: id, Name: name, Started: time.Unix(int64(60*minute), 0)}, state: state}
	}
	runs := []*knownRun{
		run("abc0000000", "web", stateEnded, 1), run("abd0000000", "web", stateLost, 2), run("xyz0000000", "build", stateEnded, 3),
		run("xyy0000000", "build", stateRunning, 4), run("ddd0000000", "two", stateRunning, 5), run("dde0000000", "two", stateUnseen, 6),
		run("eee0000000", "abc0000000", stateRunning, 7),
	}
	for word, want := range map[string]string{
		"web": "abd0000000", "build": "xyy0000000", "abc0000000": "abc0000000", "abd": "abd0000000", "xyz": "xyz0000000", "ddd0": "ddd0000000", "two": "!2 runs",
		"xy": "!no run", "nobody": "!no run", "": "!empty", "dd": "!no run", "ddx": "!no run",
	} {
		r, err := pick(runs, word)
		switch message, bad := strings.CutPrefix(want, "!"); {
		case bad && (err == nil || !strings.Contains(err.Error(), message)):
			t.Errorf("%q: %v; want %s", word, err, message)
		case !bad && (err != nil || r.ID != want):
			t.Errorf("%q: %v; want %s", word, err, want)
		}
	}
}

func TestRunStatus(t *testing.T) {
	for _, c := range []struct {
		registry.Outcome
		want int
	}{
		{registry.Outcome{Ending: "exited"}, 0},
		{registry.Outcome{Ending: "exited", ExitCode: 3}, 3},
		{registry.Outcome{Ending: "exited", ExitCode: -1, Signal: "SIGTERM"}, 143},
		{registry.Outcome{Ending: "timed_out", ExitCode: -1, Signal: "SIGTERM", Failed: registry.FailedOther}, 124},
		{registry.Outcome{Ending: "idle"}, 124},
		{registry.Outcome{Ending: "out_of_memory", Survivors: 1}, 137},
		{registry.Outcome{Ending: "timed_out", Forced: true}, 137},
		{registry.Outcome{Ending: "exited", Failed: registry.FailedLeftovers}, 123},
		{registry.Outcome{Ending: "exited", ExitCode: 3, Failed: registry.FailedLeftovers}, 3},
		{registry.Outcome{Ending: "stopped", Survivors: 1}, 125},
		{registry.Outcome{Ending: "stopped", Unknown: "no"}, 125},
		{registry.Outcome{Ending: "exited", Failed: registry.FailedOther}, 125},
		{registry.Outcome{Ending: "exited", ExitCode: -1}, 125},
		{registry.Outcome{Ending: "lifeline_lost", ExitCode: 0}, 0},
		{registry.Outcome{Ending: "exited", ExitCode: -1, Signal: "signal 35"}, 163},
	} {
		if got := runStatus(&c.Outcome); got != c.want {
			t.Errorf("%+v: %d; want %d", c.Outcome, got, c.want)
		}
	}
}

// TestRunsThis: what this process descends from is not stopped by it.
func TestRunsThis(t *testing.T) {
	parent, err := proctree.Identify(os.Getppid())
	if err != nil {
		t.Skip("SKIPPED: ", err)
	}
	other := registry.Process{PID: parent.PID, Start: parent.Start + 1}
	if got := runsThis([]registry.Process{other, {PID: parent.PID, Start: parent.Start}}); got != parent.PID {
		t.Errorf("%d; want %d", got, parent.PID)
	}
	if got := runsThis([]registry.Process{other}); got != 0 {
		t.Errorf("%d", got)
	}
}

// TestKeptTree: of a process table, those are stopped that were kept, that are below
// them, and that are in their sessions; never one above who asks.
func TestKeptTree(t *testing.T) {
	self := proctree.Process{ID: proctree.ID{PID: 1 << 20, Start: 9}}
	row := func(pid, ppid, sid int) proctree.Process {
		return proctree.Process{ID: proctree.ID{PID: pid, Start: uint64(pid)}, PPID: ppid, SID: sid, State: proctree.Sleeping, Threads: 1}
	}
	k := newKeptTree([]registry.Process{{PID: 10, Start: 10}, {PID: 20, Start: 999}, {PID: 1, Start: 1}, {PID: -1, Start: 1}, {PID: 0}})
	zombie := row(15, 10, 10)
	zombie.State, zombie.Threads = proctree.Zombie, 1
	pids := func(rows []proctree.Process) string {
		var all []int
		for _, p := range rows {
			all = append(all, p.PID)
		}
		slices.Sort(all)
		return fmt.Sprint(all)
	}
	table := []proctree.Process{row(1, 0, 1), row(2, 1, 2), row(10, 1, 10), row(11, 10, 10), row(12, 11, 12), row(13, 1, 12), row(14, 1, 10), zombie, row(20, 1, 20), row(21, 20, 20), row(30, 2, 2), self}
	if got := pids(k.in(table)); got != "[10 11 12 13 14]" {
		t.Errorf("%s", got)
	}
	// Who has been met stays one of them when those above it have ended.
	if got := pids(k.in([]proctree.Process{row(1, 0, 1), row(13, 1, 99), row(14, 1, 99), row(21, 1, 20)})); got != "[13 14]" {
		t.Errorf("later: %s", got)
	}
}
