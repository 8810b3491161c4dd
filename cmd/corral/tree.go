//go:build linux || darwin || freebsd || windows

package main

import (
	"cmp"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/corral-run/corral/internal/proctree"
)

func newTree() *cobra.Command {
	return &cobra.Command{
		Use:   "tree [PID]",
		Short: "Show the process tree",
		Long: `Show every process, or PID and its descendants, below its parent.

GROUP and SESSION are process group and session. STATE is the letter that ps
prints (R running, S sleeping, D uninterruptible, T stopped, Z zombie, I idle),
followed by s if the process leads its session, or by g if it leads its process
group only. AGE is the time since its start, MEMORY what it has resident.`,
		Example: `  corral tree
  corral tree $$`,
		Annotations: map[string]string{exitStatuses: `0	the tree has been shown
1	there is no process PID, or the process table cannot be read
125	bad arguments, or the tree cannot be written
`},
		DisableFlagsInUseLine: true,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 1 {
				return fmt.Errorf("tree takes one process ID, but got %d", len(args))
			}
			return nil
		},
		ValidArgsFunction: func(c *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
			if len(args) > 0 {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			return completePIDs(c, args, word)
		},
		RunE: func(c *cobra.Command, args []string) error {
			var v view
			if len(args) == 1 {
				pid, err := parsePID(args[0])
				if err != nil {
					return err
				}
				v.root = pid
			}
			table, err := proctree.Snapshot()
			if err != nil {
				return &exitError{statusStuck, err}
			}
			if v.root != 0 && !slices.ContainsFunc(table, func(p proctree.Process) bool { return p.PID == v.root }) {
				return &exitError{statusStuck, fmt.Errorf("there is no process %d", v.root)}
			}
			v.now = time.Now()
			v.ascii = !utf8Locale(os.Getenv)
			if f := fileOf(c.OutOrStdout()); f != nil && term.IsTerminal(int(f.Fd())) {
				v.colour = os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
				v.width, _, _ = term.GetSize(int(f.Fd()))
			}
			if _, err := fmt.Fprint(c.OutOrStdout(), drawTree(table, v)); err != nil {
				return &exitError{statusOwn, err}
			}
			return nil
		},
	}
}

// title is the command line of p on one line, or its short name in brackets,
// as ps does it, if there is none: kernel threads, zombies, other users'
// processes on some systems.
func title(p proctree.Process) string {
	if len(p.Args) == 0 {
		return printable("[" + p.Name + "]")
	}
	return printable(strings.Join(p.Args, " "))
}

// view is how to draw a tree.
type view struct {
	root   int // draw only this process and its descendants; 0: all
	now    time.Time
	width  int  // cut lines to so many columns; 0: do not
	colour bool // with ANSI escape sequences
	ascii  bool // tree lines of ASCII
}

// span is a part of a line, with its ANSI attributes.
type span struct{ text, style string }

const (
	bold   = "1"
	dim    = "2"
	red    = "31"
	green  = "32"
	yellow = "33"
)

// drawTree returns the picture of table: a line with the names of the columns,
// and one for each process.
func drawTree(table []proctree.Process, v view) string {
	type line struct {
		cells  [6]string
		state  string
		branch string
		title  span
	}
	header := line{
		cells: [6]string{"PID", "GROUP", "SESSION", "STATE", "AGE", "MEMORY"},
		state: bold,
		title: span{"COMMAND", bold},
	}
	lines := []line{header}
	for _, n := range arrange(table, v) {
		p := n.Process
		l := line{
			cells: [6]string{strconv.Itoa(p.PID), number(p.PGID), number(p.SID), state(p), age(p, v.now), memory(p.RSS)},
			state: stateStyle(p.State), branch: n.branch, title: span{title(p), ""},
		}
		switch {
		case !p.Alive():
			l.title.style = red
		case p.PID == p.SID:
			l.title.style = bold
		case len(p.Args) == 0:
			l.title.style = dim
		}
		lines = append(lines, l)
	}
	var widths [len(header.cells)]int
	for _, l := range lines {
		for i, cell := range l.cells {
			widths[i] = max(widths[i], len(cell))
		}
	}
	var b strings.Builder
	for n, l := range lines {
		var spans []span
		for i, cell := range l.cells {
			style := ""
			if i == 3 { // the state, the only column of words
				cell = fmt.Sprintf("%-*s  ", widths[i], cell)
				style = l.state
			} else {
				cell = fmt.Sprintf("%*s  ", widths[i], cell)
			}
			if n == 0 {
				style = bold
			}
			spans = append(spans, span{cell, style})
		}
		spans = append(spans, span{l.branch, dim}, l.title)
		writeLine(&b, spans, v)
	}
	return b.String()
}

// writeLine writes the spans, as far as they fit.
func writeLine(b *strings.Builder, spans []span, v view) {
	more := "…"
	if v.ascii {
		more = "+"
	}
	total := 0
	for _, s := range spans {
		total += columns(s.text)
	}
	room := total // to the right margin
	if v.width > 0 && total > v.width {
		room = v.width - 1
	}
	cut := room < total
	for _, s := range spans {
		text := s.text
		if w := columns(text); w > room {
			text = fit(text, room)
			room = 0
		} else {
			room -= w
		}
		if text == "" {
			continue
		}
		if v.colour && s.style != "" {
			fmt.Fprintf(b, "\x1b[%sm%s\x1b[0m", s.style, text)
		} else {
			b.WriteString(text)
		}
	}
	if cut {
		b.WriteString(more)
	}
	b.WriteByte('\n')
}

// fit returns the beginning of s that takes at most n columns.
func fit(s string, n int) string {
	for i, r := range s {
		n -= runeColumns(r)
		if n < 0 {
			return s[:i]
		}
	}
	return s
}

func columns(s string) int {
	n := 0
	for _, r := range s {
		n += runeColumns(r)
	}
	return n
}

// runeColumns is how many columns a terminal uses for a printable r: two for
// the scripts of East Asia and for emoji, none for what combines with the
// character before it.
func runeColumns(r rune) int {
	switch {
	case r < utf8.RuneSelf:
		return 1
	case unicode.In(r, unicode.Mn, unicode.Me):
		return 0
	case unicode.In(r, unicode.Han, unicode.Hangul, unicode.Hiragana, unicode.Katakana),
		0x3000 <= r && r <= 0x303e, 0xff01 <= r && r <= 0xff60, 0x1f300 <= r && r <= 0x1faff:
		return 2
	}
	return 1
}

// node is a process in its place: branch is the part of the tree left of it.
type node struct {
	proctree.Process
	branch string
}

// branches are what the tree is drawn with.
type branches struct{ tee, corner, pipe, none string }

// arrange puts the processes in the order of the picture. A process is a root
// if its parent is not in the table, or is younger than itself: then the parent
// has ended and its number was used again, as happens on Windows. Every process
// appears once whatever the parents say; the table is not read at one moment,
// so that they may even form a circle.
func arrange(table []proctree.Process, v view) []node {
	lines := branches{"├─ ", "└─ ", "│  ", "   "}
	if v.ascii {
		lines = branches{"|- ", "`- ", "|  ", "   "}
	}
	table = slices.Clone(table)
	slices.SortFunc(table, func(a, b proctree.Process) int {
		return cmp.Or(cmp.Compare(a.Start, b.Start), cmp.Compare(a.PID, b.PID))
	})
	rows := make(map[int]int, len(table))
	for i, p := range table {
		rows[p.PID] = i
	}
	children := make(map[int][]int)
	var roots []int
	for i, p := range table {
		parent, ok := rows[p.PPID]
		if ok && parent != i && table[parent].Start <= p.Start {
			children[parent] = append(children[parent], i)
		} else {
			roots = append(roots, i)
		}
	}
	// Rows not reached from a root form a circle: the oldest is as good a
	// root as any.
	for i := range table {
		roots = append(roots, i)
	}
	if v.root != 0 {
		roots = nil
		if i, ok := rows[v.root]; ok {
			roots = []int{i}
		}
	}
	seen := make([]bool, len(table))
	var nodes []node
	var walk func(i int, branch, below string)
	walk = func(i int, branch, below string) {
		if seen[i] {
			return
		}
		seen[i] = true
		nodes = append(nodes, node{table[i], branch})
		next := slices.DeleteFunc(children[i], func(c int) bool { return seen[c] })
		for n, c := range next {
			if n < len(next)-1 {
				walk(c, below+lines.tee, below+lines.pipe)
			} else {
				walk(c, below+lines.corner, below+lines.none)
			}
		}
	}
	for _, i := range roots {
		walk(i, "", "")
	}
	return nodes
}

func number(id int) string {
	if id <= 0 {
		return "-"
	}
	return strconv.Itoa(id)
}

func state(p proctree.Process) string {
	s := string(rune(p.State))
	switch p.PID {
	case p.SID:
		s += "s"
	case p.PGID:
		s += "g"
	}
	return s
}

func stateStyle(s proctree.State) string {
	switch s {
	case proctree.Running:
		return green
	case proctree.Disk, proctree.Stopped, proctree.Traced:
		return yellow
	case proctree.Zombie:
		return red
	}
	return ""
}

// age is the time since the start of p, in its two largest units.
func age(p proctree.Process, now time.Time) string {
	if p.Started.IsZero() {
		return "-"
	}
	const day = 24 * time.Hour
	d := max(now.Sub(p.Started), 0)
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%ds", d/time.Second)
	case d < time.Hour:
		return fmt.Sprintf("%dm%02ds", d/time.Minute, d%time.Minute/time.Second)
	case d < day:
		return fmt.Sprintf("%dh%02dm", d/time.Hour, d%time.Hour/time.Minute)
	}
	return fmt.Sprintf("%dd%02dh", d/day, d%day/time.Hour)
}

// memory is a number of bytes in units of 1024, with two digits or three.
func memory(bytes int64) string {
	if bytes <= 0 {
		return "-"
	}
	f := float64(bytes) / 1024
	for _, unit := range []string{"K", "M", "G"} {
		if f < 9.95 {
			return fmt.Sprintf("%.1f%s", f, unit)
		}
		if f < 999.5 {
			return fmt.Sprintf("%.0f%s", f, unit)
		}
		f /= 1024
	}
	return fmt.Sprintf("%.1fT", f)
}
