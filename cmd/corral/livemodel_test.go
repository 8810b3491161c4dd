//go:build linux || darwin || freebsd || windows

package main

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/corral-run/corral/internal/proctree"
)

func TestKeys(t *testing.T) {
	for _, tt := range []struct {
		pieces []string
		want   []key
	}{
		{[]string{"q"}, []key{'q'}},
		{[]string{"\x1b[A\x1bOBk"}, []key{keyUp, keyDown, 'k'}},
		{[]string{"\x1b", "[", "A"}, []key{keyUp}},
		{[]string{"\x1b"}, nil},
		{[]string{"\x1b", "q"}, []key{keyEscape, 'q'}},
		{[]string{"\x1b\x1b[B"}, []key{keyEscape, keyDown}},
		{[]string{"\x1b[5~\x1b[6~\x1b[H\x1b[4~"}, []key{keyPageUp, keyPageDown, keyHome, keyEnd}},
		{[]string{"\x1b[1;5", "Ay"}, []key{keyOther, 'y'}}, // no letter of it is a key
		{[]string{"\x1b[<0;1;1Mq"}, []key{keyOther, 'q'}},
		{[]string{"\x1b[" + strings.Repeat("1", 100)}, append([]key{keyOther}, slices.Repeat([]key{'1'}, 70)...)},
		{[]string{"\xc3", "\xa4", "\x03\x1a\x1c"}, []key{keyOther, keyOther, keyInterrupt, keySuspend, keyAbort}},
	} {
		var r keyReader
		var got []key
		for _, piece := range tt.pieces {
			got = append(got, r.keys([]byte(piece))...)
		}
		if !slices.Equal(got, tt.want) {
			t.Errorf("%q: %d; want %d", tt.pieces, got, tt.want)
		}
	}
}

func newTestModel() *liveModel {
	parts, m := usageParts()
	l := &liveModel{name: "corral top", runs: true}
	l.show(&picture{parts: parts, meter: *m}, treeNow)
	return l
}

func TestLiveScreen(t *testing.T) {
	l := newTestModel()
	l.press('j')
	got := strings.Join(l.screen(60, 10, false), "\n") + "\n"
	want := `
corral top: 2 runs, 5 processes, CPU% -, memory -, 12:00:00
PID  CPU%  MEMORY    AGE  COMMAND
     55.0     81M  3m00s  web (3k9xq0t7pd) running [team=a]…
` + "\x1b[7m" + `101  50.0     40M  3m00s  ├─ ./server --port 8080           ` + "\x1b[0m" + `
102   5.0     24M  2m00s  │  ├─ worker 1
103   0.0     16M  1m00s  │  └─ worker \x1b[2J猫
104   0.0    1.0M    30s  └─ daemon
        -       -     1s  build (x0p4v6d2cz) running: make
201     -       -     1s  └─ make
q quit  ↑↓ select  s stop run  x stop process
`
	if diff := cmp.Diff(strings.TrimPrefix(want, "\n"), got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	// Whatever the size is, there are so many lines, none is longer, and the selected one
	// is among them.
	for height := 0; height < 14; height++ {
		for _, width := range []int{1, 2, 10, 40, 80, 300} {
			for at := range l.items {
				l.at = at
				lines := l.screen(width, height, true)
				selected := 0
				for _, s := range lines {
					if n := columns(escapes.ReplaceAllString(s, "")); n > width {
						t.Errorf("%d×%d: %d columns: %q", width, height, n, s)
					}
					if strings.Contains(s, "\x1b[7m") {
						selected++
					}
				}
				if len(lines) != height || width > 1 && selected != min(1, height) {
					t.Errorf("%d×%d, at %d: %d lines, %d selected", width, height, at, len(lines), selected)
				}
			}
		}
	}
}

func TestLiveBeforeTheFirstLook(t *testing.T) {
	l := &liveModel{name: "corral top", runs: true}
	for _, k := range []key{'j', 'k', 'G', 's', 'x', keyPageDown} {
		if o := l.press(k); o != (order{}) || l.asked != nil {
			t.Errorf("%d: %+v", k, o)
		}
	}
	if got := l.screen(80, 5, false); got[0] != "corral top: looking" {
		t.Errorf("%q", got)
	}
}

// What is selected stays selected, whatever comes and goes above it.
func TestLiveSelection(t *testing.T) {
	l := newTestModel()
	l.press('G')
	parts, m := usageParts()
	l.show(&picture{parts: parts[1:], meter: *m}, treeNow)
	if p := l.items[l.at].process.PID; l.at != 1 || p != 201 {
		t.Errorf("item %d, PID %d", l.at, p)
	}
	later := parts[1]
	later.members = slices.Clone(later.members)
	later.members[0].Start++ // another process with that number
	later.members = append(later.members, row(200, 1, 0, 0, proctree.Sleeping, 0, 1, "x"))
	l.show(&picture{parts: []usagePart{later}, meter: *m}, treeNow)
	if l.at >= len(l.items) {
		t.Errorf("item %d of %d", l.at, len(l.items))
	}
	l.show(&picture{}, treeNow)
	if l.at != 0 || l.press('x') != (order{}) || l.asked != nil {
		t.Errorf("item %d of none, asked %v", l.at, l.asked)
	}
}

// Nothing is stopped but what has been asked about, and only by y. It is the process
// that was selected, also if another one has its place, or its number, by then.
func TestLiveStop(t *testing.T) {
	for _, answer := range []key{'n', 'q', keyEscape, '\r', 'x', keyOther} {
		l := newTestModel()
		l.press('x')
		if l.asked != nil || !strings.Contains(l.said, "s stops") {
			t.Errorf("x on a run: %v, %q", l.asked, l.said)
		}
		l.press('j')
		if o := l.press('x'); o.stop != nil || l.asked == nil {
			t.Fatalf("%+v, asked %v", o, l.asked)
		}
		lines := l.screen(80, 24, false)
		if got := lines[23]; !strings.Contains(got, "y to stop process 101 (./server --port 8080) and what is below it") {
			t.Errorf("%q", got)
		}
		if o := l.press(answer); o != (order{}) || l.asked != nil {
			t.Errorf("%d: %+v, %v", answer, o, l.asked)
		}
		if o := l.press('y'); o != (order{}) {
			t.Errorf("y afterwards: %+v", o)
		}
	}
	l := newTestModel()
	l.press('j')
	l.press('x')
	parts, m := usageParts()
	parts[0].members[0].Start = 4711
	l.show(&picture{parts: parts, meter: *m}, treeNow)
	if o := l.press('y'); o.stop == nil || o.stop.process != (proctree.ID{PID: 101, Start: 101}) {
		t.Errorf("%+v", o.stop)
	}
	l.press('G')
	l.press('s')
	if o := l.press('y'); o.stop == nil || o.stop.run != "x0p4v6d2cz" || o.stop.process.PID != 0 || o.stop.String() != "run build (x0p4v6d2cz)" {
		t.Errorf("%+v", o.stop)
	}
	l.press('s')
	if o := l.press(keyInterrupt); !o.interrupt || o.stop != nil || l.asked != nil {
		t.Errorf("Ctrl-C: %+v", o)
	}
	tree := newTestModel()
	tree.runs = false
	tree.press('s')
	if tree.asked != nil || !strings.Contains(tree.said, "no runs") {
		t.Errorf("s in a tree: %v, %q", tree.asked, tree.said)
	}
}
