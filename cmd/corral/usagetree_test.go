//go:build linux || darwin || freebsd || windows

package main

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/corral-run/corral/internal/proctree"
	"github.com/corral-run/corral/internal/registry"
)

// used is a row with the processor time of a process.
func used(p proctree.Process, cpu time.Duration) proctree.Process {
	p.CPU, p.CPUKnown = cpu, true
	return p
}

// usageParts is a picture of two runs, and its meter.
func usageParts() ([]usagePart, *meter) {
	const M = 1 << 20
	web := []proctree.Process{
		used(row(101, 100, 100, 50, proctree.Sleeping, 3*time.Minute, 40*M, "./server", "--port", "8080"), 90*time.Second),
		used(row(102, 101, 100, 50, proctree.Running, 2*time.Minute, 24*M, "worker", "1"), 3*time.Second),
		used(row(103, 101, 103, 50, proctree.Sleeping, time.Minute, 16*M, "worker", "\x1b[2J猫"), 0),
		used(row(104, 7, 104, 104, proctree.Disk, 30*time.Second, 1*M, "daemon"), 10*time.Millisecond),
	}
	build := []proctree.Process{row(201, 200, 200, 50, proctree.Sleeping, time.Second, 0, "make")}
	m := new(meter)
	before := make([]proctree.Process, len(web))
	copy(before, web)
	before[0].CPU -= time.Second
	before[1].CPU -= 100 * time.Millisecond
	m.look(before, treeNow.Add(-2*time.Second))
	m.look(append(web, build...), treeNow)
	return []usagePart{
		{heading: &heading{run: "3k9xq0t7pd", title: "web (3k9xq0t7pd) running [team=a]: ./server --port 8080", style: bold, since: treeNow.Add(-3 * time.Minute)}, members: web},
		{heading: &heading{run: "x0p4v6d2cz", title: "build (x0p4v6d2cz) running: make", style: bold, since: treeNow.Add(-time.Second)}, members: build},
	}, m
}

const wholeUsage = `
PID  STATE  CPU%   TIME  MEMORY    AGE  COMMAND
            55.0  1m33s     81M  3m00s  web (3k9xq0t7pd) running [team=a]: ./server --port 8080
101  S      50.0  1m30s     40M  3m00s  ├─ ./server --port 8080
102  R       5.0  3.00s     24M  2m00s  │  ├─ worker 1
103  Sg      0.0  0.00s     16M  1m00s  │  └─ worker \x1b[2J猫
104  Ds      0.0  0.01s    1.0M    30s  └─ daemon
               -      -       -     1s  build (x0p4v6d2cz) running: make
201  S         -      -       -     1s  └─ make
`

func TestUsageTree(t *testing.T) {
	parts, m := usageParts()
	v := view{now: treeNow}
	got := joinLines(drawUsage(usageTree(parts, m, v), v))
	if diff := cmp.Diff(strings.TrimPrefix(wholeUsage, "\n"), got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	v.ascii = true
	if got := drawUsage(usageTree(parts, m, v), v)[4]; !strings.Contains(got, "|  `- worker") {
		t.Errorf("%q", got)
	}
}

// Where there is little room, the columns go in their order, and no line is longer.
func TestUsageTreeNarrow(t *testing.T) {
	parts, m := usageParts()
	for width := 1; width < 120; width++ {
		v := view{now: treeNow, width: width}
		for _, got := range drawUsage(usageTree(parts, m, v), v) {
			if n := columns(got); n > width {
				t.Errorf("width %d: %d columns: %q", width, n, got)
			}
		}
	}
	for width, want := range map[int]string{
		120: "PID  STATE  CPU%   TIME  MEMORY    AGE  COMMAND",
		80:  "PID  STATE  CPU%   TIME  MEMORY    AGE  COMMAND",
		78:  "PID  STATE  CPU%  MEMORY    AGE  COMMAND",
		60:  "PID  CPU%  MEMORY    AGE  COMMAND",
		40:  "PID  CPU%  MEMORY  COMMAND",
		30:  "PID  CPU%  COMMAND",
		16:  "PID  CPU%  COMM…",
	} {
		v := view{now: treeNow, width: width}
		if got := drawUsage(usageTree(parts, m, v), v)[0]; got != want {
			t.Errorf("width %d: %q; want %q", width, got, want)
		}
	}
}

// What a process takes is the difference of two looks at that same process.
func TestMeter(t *testing.T) {
	at := treeNow
	p := used(row(7, 1, 7, 7, proctree.Running, time.Hour, 1, "a"), 5*time.Second)
	share := func(m *meter, p proctree.Process) string { return m.of(p).percent() }
	m := new(meter)
	m.look([]proctree.Process{p}, at)
	if got := share(m, p); got != "-" {
		t.Errorf("after one look: %s", got)
	}
	step := func(want string, after time.Duration, now proctree.Process) {
		t.Helper()
		at = at.Add(after)
		m.look([]proctree.Process{now}, at)
		if got := share(m, now); got != want {
			t.Errorf("%s; want %s", got, want)
		}
	}
	p.CPU += 3 * time.Second
	step("300", 1*time.Second, p)
	p.CPU += time.Second
	step("300", leastSpan/2, p) // too soon to tell
	p.CPU += 0
	step("95.2", time.Second, p) // of both spans
	p.CPU -= time.Second
	step("0.0", time.Second, p)
	// Its PID is another's, who has been there before and was not seen: not known.
	other := used(row(7, 1, 7, 7, proctree.Running, time.Hour, 1, "b"), 8*time.Second)
	other.Start = 99
	step("-", time.Second, other)
	// And now one that has been born since the look.
	fresh := used(row(7, 1, 7, 7, proctree.Running, 0, 1, "c"), 250*time.Millisecond)
	fresh.Start, fresh.Started = 100, at.Add(time.Millisecond)
	step("25.0", time.Second, fresh)
	// Where the system does not tell, it is not known, and not zero.
	unknown := row(7, 1, 7, 7, proctree.Running, 0, 0, "d")
	step("-", time.Second, unknown)
	if a := m.of(unknown); a.time() != "-" || memory(a.memory) != "-" {
		t.Errorf("%+v", a)
	}
	// Nor is a sum with it.
	if a := m.of(fresh, unknown); a.shareKnown || a.cpuKnown || a.memory > 0 {
		t.Errorf("%+v", a)
	}
	if a := m.of(); a.shareKnown || memory(a.memory) != "-" {
		t.Errorf("of nobody: %+v", a)
	}
}

func TestMembersIn(t *testing.T) {
	table := []proctree.Process{row(10, 1, 10, 10, proctree.Sleeping, 0, 1, "a", "secret"), row(11, 10, 10, 10, proctree.Sleeping, 0, 1, "b", "c")}
	members := []registry.Process{{PID: 10, Start: 10, Command: []string{"x"}}, {PID: 11, Start: 999, Command: []string{"y"}}}
	r := &knownRun{state: stateRunning}
	if got := membersIn(table, r, members); len(got) != 1 || got[0].PID != 10 || len(got[0].Args) != 2 {
		t.Errorf("%+v", got)
	}
	r.Redacted = true
	if got := membersIn(table, r, members); len(got) != 1 || len(got[0].Args) != 1 {
		t.Errorf("redacted: %+v", got)
	}
	if len(table[0].Args) != 2 {
		t.Error("the table has been changed")
	}
	r.state = stateUnseen
	if got := membersIn(table, r, members); len(got) != 2 || got[1].Args[0] != "y" || got[1].PID != 11 {
		t.Errorf("unseen: %+v", got)
	}
}

func TestTreeRoots(t *testing.T) {
	table := []proctree.Process{
		row(10, 1, 0, 0, proctree.Sleeping, 0, 1, "a"), row(11, 10, 0, 0, proctree.Sleeping, 0, 1, "b"), row(12, 11, 0, 0, proctree.Sleeping, 0, 1, "c"),
		row(20, 1, 0, 0, proctree.Sleeping, 0, 1, "d"),
	}
	for _, tt := range []struct {
		roots []int
		want  string
	}{
		{nil, "[10 11 12 20]"}, {[]int{20, 11}, "[20 11 12]"}, {[]int{12, 10}, "[10 11 12]"}, {[]int{11, 12, 11}, "[11 12]"}, {[]int{99}, "[]"},
	} {
		var got []int
		for _, n := range arrange(table, view{roots: tt.roots}) {
			got = append(got, n.PID)
		}
		if fmt.Sprint(got) != tt.want {
			t.Errorf("%v: %v; want %s", tt.roots, got, tt.want)
		}
	}
	circle := sameStart(row(5, 6, 0, 0, proctree.Sleeping, 0, 1, "a"), row(6, 5, 0, 0, proctree.Sleeping, 0, 1, "b"))
	if got := arrange(circle, view{roots: []int{5, 6}}); len(got) != 2 {
		t.Errorf("%d rows of a circle", len(got))
	}
}

func TestColumnsOfRunes(t *testing.T) {
	for s, want := range map[string]int{"a": 1, "é": 1, "e\u0301": 1, "猫": 2, "한": 2, "あ": 2, "ㄅ": 2, "🦊": 2, "⌚": 2, "→": 1, "ß": 1, "（": 2, "𠀀": 2, "✅": 2, "─": 1, "…": 1} {
		if got := columns(s); got != want {
			t.Errorf("%q: %d columns; want %d", s, got, want)
		}
	}
}
