//go:build linux || darwin || freebsd || windows

package main

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/corral-run/corral/internal/proctree"
)

var treeNow = time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)

// row is a process as the tests need it.
func row(pid, ppid, pgid, sid int, state proctree.State, age time.Duration, rss int64, args ...string) proctree.Process {
	p := proctree.Process{
		ID:      proctree.ID{PID: pid, Start: uint64(pid)},
		PPID:    ppid,
		PGID:    pgid,
		SID:     sid,
		State:   state,
		Threads: 1,
		Name:    "name",
		Args:    args,
		RSS:     rss,
	}
	if age >= 0 {
		p.Started = treeNow.Add(-age)
	}
	return p
}

func ordinaryTable() []proctree.Process {
	const M = 1 << 20
	kernel := row(2, 0, 0, 0, proctree.Sleeping, 40*24*time.Hour+3*time.Hour, 0)
	kernel.Name = "kthreadd"
	worker := row(15, 2, 0, 0, proctree.Idle, 40*24*time.Hour, 0)
	worker.Name = "kworker/0:1-events"
	zombie := row(1205, 1200, 1205, 1200, proctree.Zombie, 61*time.Second, 0)
	zombie.Name = "npm"
	halfDead := row(1206, 1200, 1206, 1200, proctree.Zombie, 59*time.Second, 5*M)
	halfDead.Name, halfDead.Threads = "java", 3
	return []proctree.Process{
		row(1210, 1204, 1204, 1200, proctree.Disk, 0, 1024, "cp", "big file", "/mnt"),
		row(1, 0, 1, 1, proctree.Sleeping, 40*24*time.Hour+3*time.Hour, 12*M, "/sbin/init"),
		kernel, worker,
		row(900, 1, 900, 900, proctree.Sleeping, 26*time.Hour, 8*M, "sshd", "-D"),
		row(1200, 900, 1200, 1200, proctree.Sleeping, 2*time.Hour+7*time.Minute, 9*M+M/2, "-bash"),
		row(1204, 1200, 1204, 1200, proctree.Running, 59*time.Minute+59*time.Second, 2048*M, "make", "-j8"),
		row(1211, 1204, 1204, 1200, proctree.Stopped, time.Second, 999*1024, "cc", "-o", "x\n\x1b[31m", "猫.c"),
		row(1212, 1, 1204, 1200, proctree.Sleeping, -1, 3<<40, "orphan"),
		zombie, halfDead,
	}
}

const ordinaryTree = `
 PID  GROUP  SESSION  STATE     AGE  MEMORY  COMMAND
   1      1        1  Ss     40d03h     12M  /sbin/init
 900    900      900  Ss      1d02h    8.0M  ├─ sshd -D
1200   1200     1200  Ss      2h07m    9.5M  │  └─ -bash
1204   1204     1200  Rg     59m59s    2.0G  │     ├─ make -j8
1210   1204     1200  D          0s    1.0K  │     │  ├─ cp big file /mnt
1211   1204     1200  T          1s    999K  │     │  └─ cc -o x\n\x1b[31m 猫.c
1205   1205     1200  Zg      1m01s       -  │     ├─ [npm]
1206   1206     1200  Zg        59s    5.0M  │     └─ [java]
1212   1204     1200  S           -    3.0T  └─ orphan
   2      -        -  S      40d03h       -  [kthreadd]
  15      -        -  I      40d00h       -  └─ [kworker/0:1-events]
`

func TestDrawTree(t *testing.T) {
	got := drawTree(ordinaryTable(), view{now: treeNow})
	if diff := cmp.Diff(strings.TrimPrefix(ordinaryTree, "\n"), got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestDrawTreeOfOne(t *testing.T) {
	const want = `
 PID  GROUP  SESSION  STATE     AGE  MEMORY  COMMAND
1204   1204     1200  Rg     59m59s    2.0G  make -j8
1210   1204     1200  D          0s    1.0K  |- cp big file /mnt
1211   1204     1200  T          1s    999K  ` + "`" + `- cc -o x\n\x1b[31m 猫.c
`
	got := drawTree(ordinaryTable(), view{now: treeNow, roots: []int{1204}, ascii: true})
	if diff := cmp.Diff(strings.TrimPrefix(want, "\n"), got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// A terminal's lines are cut, by columns and not by characters.
func TestDrawTreeCutToWidth(t *testing.T) {
	for width := 1; width < 90; width++ {
		plain := drawTree(ordinaryTable(), view{now: treeNow, width: width})
		coloured := drawTree(ordinaryTable(), view{now: treeNow, width: width, colour: true})
		if got := escapes.ReplaceAllString(coloured, ""); got != plain {
			t.Errorf("width %d: colour changes the text:\n%s", width, cmp.Diff(plain, got))
		}
		whole := strings.Split(ordinaryTree, "\n")[1:]
		for i, line := range strings.Split(plain, "\n") {
			if w := columns(line); w > width {
				t.Errorf("width %d: line of %d columns: %s", width, w, line)
			}
			cut, ok := strings.CutSuffix(line, "…")
			if ok && !strings.HasPrefix(whole[i], cut) {
				t.Errorf("width %d: %q is not the beginning of %q", width, line, whole[i])
			}
			if !ok && line != whole[i] {
				t.Errorf("width %d: %q; want all of %q", width, line, whole[i])
			}
		}
	}
	// 猫 takes two columns: at 63 there is room for one half of it.
	line := func(width int) string {
		return strings.Split(drawTree(ordinaryTable(), view{now: treeNow, width: width, roots: []int{1211}}), "\n")[1]
	}
	full := line(0)
	n := columns(full)
	if got, want := line(n), full; got != want {
		t.Errorf("width %d: %q; want %q", n, got, want)
	}
	if got, want := line(n-1), strings.Replace(full, "猫.c", "猫…", 1); got != want {
		t.Errorf("width %d: %q; want %q", n-1, got, want)
	}
	if got, want := line(n-2), strings.Replace(full, "猫.c", "…", 1); got != want {
		t.Errorf("width %d: %q; want %q", n-2, got, want)
	}
}

var escapes = regexp.MustCompile(`\x1b\[[0-9]*m`)

func TestDrawTreeColour(t *testing.T) {
	got := drawTree(ordinaryTable(), view{now: treeNow, colour: true})
	if diff := cmp.Diff(strings.TrimPrefix(ordinaryTree, "\n"), escapes.ReplaceAllString(got, "")); diff != "" {
		t.Errorf("colour changes the text: -want +got:\n%s", diff)
	}
	for _, want := range []string{
		"\x1b[1mCOMMAND\x1b[0m\n",         // header
		"\x1b[1m-bash\x1b[0m\n",           // session leader
		"\x1b[33mD      \x1b[0m",          // uninterruptible
		"\x1b[31mZg     \x1b[0m",          // zombie
		"\x1b[31m[npm]\x1b[0m\n",          // nothing of it runs
		"\x1b[2m[java]\x1b[0m\n",          // some of it does
		"\x1b[2m│  │     ├─ \x1b[0m"[:10], // tree lines
		"\x1b[2m│     ├─ \x1b[0mmake -j8\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is missing in:\n%q", want, got)
		}
	}
}

// The table is read while processes come and go: whatever is in it, every row
// is drawn once.
func TestDrawTreeOfOddTables(t *testing.T) {
	reused := row(50, 60, 50, 50, proctree.Sleeping, 0, 0, "older-than-its-parent")
	for name, tt := range map[string]struct {
		table []proctree.Process
		want  []string // the commands with their branches
	}{
		"empty": {nil, nil},
		"parent 0": {
			[]proctree.Process{row(7, 0, 7, 7, proctree.Sleeping, 0, 0, "a")},
			[]string{"a"},
		},
		"PID 0 is its own parent": {
			[]proctree.Process{row(0, 0, 0, 0, proctree.Sleeping, 0, 0, "idle"), row(4, 0, 0, 0, proctree.Sleeping, 0, 0, "System")},
			[]string{"idle", "└─ System"},
		},
		"orphans": {
			[]proctree.Process{row(8, 5, 8, 8, proctree.Sleeping, 0, 0, "b"), row(7, 6, 7, 7, proctree.Sleeping, 0, 0, "a")},
			[]string{"a", "b"},
		},
		"parent's number used again": {
			[]proctree.Process{reused, row(60, 1, 60, 60, proctree.Sleeping, 0, 0, "younger")},
			[]string{"older-than-its-parent", "younger"},
		},
		"circle": {
			sameStart(
				row(5, 6, 5, 5, proctree.Sleeping, 0, 0, "a"), row(6, 7, 6, 6, proctree.Sleeping, 0, 0, "b"),
				row(7, 5, 7, 7, proctree.Sleeping, 0, 0, "c"), row(8, 7, 8, 8, proctree.Sleeping, 0, 0, "d")),
			[]string{"a", "└─ c", "   ├─ b", "   └─ d"},
		},
		"same PID twice": {
			[]proctree.Process{row(5, 1, 5, 5, proctree.Sleeping, 0, 0, "a"), row(5, 1, 5, 5, proctree.Sleeping, 0, 0, "b")},
			[]string{"a", "b"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			var got []string
			for _, n := range arrange(tt.table, view{}) {
				got = append(got, n.branch+n.Args[0])
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func sameStart(table ...proctree.Process) []proctree.Process {
	for i := range table {
		table[i].Start = 1
	}
	return table
}

func TestDrawTreeDeep(t *testing.T) {
	const depth = 2000
	var table []proctree.Process
	for i := 1; i <= depth; i++ {
		table = append(table, row(i, i-1, i, 1, proctree.Sleeping, 0, 0, fmt.Sprint("level-", i)))
	}
	lines := strings.Split(strings.TrimSuffix(drawTree(table, view{now: treeNow, width: 100}), "\n"), "\n")
	if len(lines) != depth+1 {
		t.Fatalf("%d lines; want %d", len(lines), depth+1)
	}
	if last := lines[depth]; columns(last) != 100 || !strings.HasPrefix(last, "2000") {
		t.Errorf("last line: %q", last)
	}
}
