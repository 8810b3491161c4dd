//go:build linux || darwin || freebsd || windows

package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
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

// treeFlags are those of `corral tree`.
type treeFlags struct {
	watch bool
	pauseFlag
}

func newTree() *cobra.Command {
	o := new(treeFlags)
	c := &cobra.Command{
		Use:   "tree [flags] [PID...]",
		Short: "Show the process tree",
		Long: `Show every process, or each PID and its descendants, below its parent.

GROUP and SESSION are process group and session. STATE is the letter that ps
prints: R running, S sleeping, D uninterruptible, T stopped, Z zombie, I idle. An s
behind it means that the process leads its session, a g that it leads its process
group only. AGE is the time since its start, MEMORY what it has resident.

With --watch it goes on showing the tree, with CPU%, what each process takes of
one processor. ` + liveKeys + `

A PID stands for the process that has it at first, and for no later one.`,
		Example: `  corral tree
  corral tree $$
  corral tree --watch --interval 500ms $$`,
		Annotations: map[string]string{exitStatuses: `0	the tree has been shown
1	there is no process PID, or the process table cannot be read
125	bad arguments, or the tree cannot be written
128+n	signal n, or the key for it, ended --watch; n is 1 if the terminal is gone
`},
		DisableFlagsInUseLine: true,
		ValidArgsFunction:     completePIDs,
		RunE: func(c *cobra.Command, args []string) error {
			pids, err := parsePIDs(args)
			if err != nil {
				return err
			}
			if c.Flags().Changed(pauseName) && !o.watch {
				return errors.New("--interval is for --watch")
			}
			if o.watch {
				return watchTree(c, pids, o.pause())
			}
			table, err := proctree.Snapshot()
			if err != nil {
				return &exitError{statusStuck, err}
			}
			if _, err := rootsIn(table, pids); err != nil {
				return &exitError{statusStuck, err}
			}
			v := viewFor(c.OutOrStdout())
			v.roots = pids
			if _, err := fmt.Fprint(c.OutOrStdout(), drawTree(table, v)); err != nil {
				return &exitError{statusOwn, err}
			}
			return nil
		},
	}
	flags := c.Flags()
	flags.SortFlags = false
	flags.BoolVarP(&o.watch, "watch", "w", false, "go on showing it, with what each process uses")
	o.pauseFlag.define(c)
	return c
}

// rootsIn returns who has the PIDs.
func rootsIn(table []proctree.Process, pids []int) (ids []proctree.ID, err error) {
	for _, pid := range pids {
		i := slices.IndexFunc(table, func(p proctree.Process) bool { return p.PID == pid })
		if i < 0 {
			return nil, fmt.Errorf("there is no process %d", pid)
		}
		ids = append(ids, table[i].ID)
	}
	return ids, nil
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
	roots  []int // draw only these processes and their descendants; none: all
	now    time.Time
	width  int  // cut lines to so many columns; 0: do not
	colour bool // with ANSI escape sequences
	ascii  bool // tree lines of ASCII
}

// viewFor is the view for what is written to w.
func viewFor(w io.Writer) view {
	v := view{now: time.Now(), ascii: !utf8Locale(os.Getenv)}
	if f := fileOf(w); f != nil && term.IsTerminal(int(f.Fd())) {
		v.colour = os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
		v.width, _, _ = term.GetSize(int(f.Fd()))
	}
	return v
}

// span is a part of a line, with its ANSI attributes.
type span struct{ text, style string }

const (
	bold    = "1"
	dim     = "2"
	inverse = "7" // also where there is no colour
	red     = "31"
	green   = "32"
	yellow  = "33"
)

// column is one that is left of the tree.
type column struct {
	name  string
	words bool // flush left, and not right as numbers are
	spare int  // where there is no room, those that are above 0 go, the largest first
}

// gridRow is a line of a picture: a cell for each column, and a place in the tree.
type gridRow struct {
	cells    []span
	branch   string
	title    span
	selected bool
}

// drawTree returns the picture of table: a line with the names of the columns,
// and one for each process.
func drawTree(table []proctree.Process, v view) string {
	columns := []column{{name: "PID"}, {name: "GROUP"}, {name: "SESSION"}, {name: "STATE", words: true}, {name: "AGE"}, {name: "MEMORY"}}
	var rows []gridRow
	for _, n := range arrange(table, v) {
		p := n.Process
		rows = append(rows, gridRow{
			cells: []span{
				{strconv.Itoa(p.PID), ""}, {number(p.PGID), ""}, {number(p.SID), ""},
				{state(p), stateStyle(p.State)}, {age(p, v.now), ""}, {memory(p.RSS), ""},
			},
			branch: n.branch, title: span{title(p), titleStyle(p)},
		})
	}
	return joinLines(drawGrid(columns, rows, v))
}

func joinLines(lines []string) string {
	if len(lines) == 0 {
		return ""
	}
	return strings.Join(lines, "\n") + "\n"
}

func titleStyle(p proctree.Process) string {
	switch {
	case !p.Alive():
		return red
	case p.PID == p.SID:
		return bold
	case len(p.Args) == 0:
		return dim
	}
	return ""
}

// drawGrid returns the lines of a picture: the names of the columns, and then the rows.
func drawGrid(columns []column, rows []gridRow, v view) []string {
	header := gridRow{title: span{"COMMAND", bold}}
	for _, c := range columns {
		header.cells = append(header.cells, span{c.name, bold})
	}
	rows = append([]gridRow{header}, rows...)
	widths := make([]int, len(columns))
	for _, r := range rows {
		for i, cell := range r.cells {
			widths[i] = max(widths[i], len(cell.text))
		}
	}
	left := leftOut(columns, widths, v.width)
	lines := make([]string, len(rows))
	for n, r := range rows {
		var spans []span
		for i, cell := range r.cells {
			pad := strings.Repeat(" ", widths[i]-len(cell.text))
			switch {
			case left[i]:
				continue
			case columns[i].words:
				cell.text += pad + "  "
			default:
				cell.text = pad + cell.text + "  "
			}
			spans = append(spans, cell)
		}
		spans = append(spans, span{r.branch, dim}, r.title)
		if r.selected {
			spans = selectedSpans(spans, v)
		}
		lines[n] = line(spans, v)
	}
	return lines
}

// leftOut says which columns have no room: the tree gets 40 columns, or half of what
// there is.
func leftOut(columns []column, widths []int, width int) []bool {
	left := make([]bool, len(columns))
	if width <= 0 {
		return left
	}
	total := 0
	for _, w := range widths {
		total += w + 2
	}
	for total > width-min(40, width/2) {
		most := -1
		for i, c := range columns {
			if !left[i] && c.spare > 0 && (most < 0 || c.spare > columns[most].spare) {
				most = i
			}
		}
		if most < 0 {
			break
		}
		left[most] = true
		total -= widths[most] + 2
	}
	return left
}

// selectedSpans is a line that stands out, up to the right margin.
func selectedSpans(spans []span, v view) []span {
	var whole strings.Builder
	for _, s := range spans {
		whole.WriteString(s.text)
	}
	text := whole.String()
	return []span{{text + strings.Repeat(" ", max(0, v.width-columns(text))), inverse}}
}

// line returns the spans on one line, as far as they fit.
func line(spans []span, v view) string {
	var b strings.Builder
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
		if s.style == inverse || v.colour && s.style != "" {
			fmt.Fprintf(&b, "\x1b[%sm%s\x1b[0m", s.style, text)
		} else {
			b.WriteString(text)
		}
	}
	if cut {
		b.WriteString(more)
	}
	return b.String()
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

// runeColumns is how many columns a terminal uses for a printable r: two for the
// scripts of East Asia and for emoji, none for what combines with the character before
// it.
func runeColumns(r rune) int {
	switch {
	case r < utf8.RuneSelf:
		return 1
	case unicode.In(r, unicode.Mn, unicode.Me):
		return 0
	case unicode.Is(wide, r):
		return 2
	}
	return 1
}

// wide are the characters of two columns: East_Asian_Width W and F of Unicode's
// EastAsianWidth.txt, and some that no terminal can show in between.
var wide = &unicode.RangeTable{
	R16: []unicode.Range16{
		{Lo: 0x1100, Hi: 0x11ff, Stride: 1}, {Lo: 0x231a, Hi: 0x231b, Stride: 1}, {Lo: 0x2329, Hi: 0x232a, Stride: 1}, {Lo: 0x23e9, Hi: 0x23ec, Stride: 1},
		{Lo: 0x23f0, Hi: 0x23f3, Stride: 3}, {Lo: 0x25fd, Hi: 0x25fe, Stride: 1}, {Lo: 0x2614, Hi: 0x2615, Stride: 1}, {Lo: 0x2630, Hi: 0x2637, Stride: 1},
		{Lo: 0x2648, Hi: 0x2653, Stride: 1}, {Lo: 0x267f, Hi: 0x2693, Stride: 20}, {Lo: 0x26a1, Hi: 0x26aa, Stride: 9}, {Lo: 0x26ab, Hi: 0x26bd, Stride: 18},
		{Lo: 0x26be, Hi: 0x26c4, Stride: 6}, {Lo: 0x26c5, Hi: 0x26ce, Stride: 9}, {Lo: 0x26d4, Hi: 0x26ea, Stride: 22}, {Lo: 0x26f2, Hi: 0x26f3, Stride: 1},
		{Lo: 0x26f5, Hi: 0x26fa, Stride: 5}, {Lo: 0x26fd, Hi: 0x2705, Stride: 8}, {Lo: 0x270a, Hi: 0x270b, Stride: 1}, {Lo: 0x2728, Hi: 0x274c, Stride: 36},
		{Lo: 0x274e, Hi: 0x2753, Stride: 5}, {Lo: 0x2754, Hi: 0x2755, Stride: 1}, {Lo: 0x2757, Hi: 0x2795, Stride: 62}, {Lo: 0x2796, Hi: 0x2797, Stride: 1},
		{Lo: 0x27b0, Hi: 0x27bf, Stride: 15}, {Lo: 0x2b1b, Hi: 0x2b1c, Stride: 1}, {Lo: 0x2b50, Hi: 0x2b55, Stride: 5}, {Lo: 0x2e80, Hi: 0x303e, Stride: 1},
		{Lo: 0x3041, Hi: 0xa4cf, Stride: 1}, {Lo: 0xa960, Hi: 0xa97f, Stride: 1}, {Lo: 0xac00, Hi: 0xd7ff, Stride: 1}, {Lo: 0xf900, Hi: 0xfaff, Stride: 1},
		{Lo: 0xfe10, Hi: 0xfe19, Stride: 1}, {Lo: 0xfe30, Hi: 0xfe6f, Stride: 1}, {Lo: 0xff01, Hi: 0xff60, Stride: 1}, {Lo: 0xffe0, Hi: 0xffe6, Stride: 1},
	},
	R32: []unicode.Range32{
		{Lo: 0x16fe0, Hi: 0x18dff, Stride: 1}, {Lo: 0x1aff0, Hi: 0x1b2ff, Stride: 1}, {Lo: 0x1d300, Hi: 0x1d376, Stride: 1}, {Lo: 0x1f004, Hi: 0x1f004, Stride: 1},
		{Lo: 0x1f0cf, Hi: 0x1f0cf, Stride: 1}, {Lo: 0x1f18e, Hi: 0x1f18e, Stride: 1}, {Lo: 0x1f191, Hi: 0x1f19a, Stride: 1}, {Lo: 0x1f200, Hi: 0x1f64f, Stride: 1},
		{Lo: 0x1f680, Hi: 0x1f6ff, Stride: 1}, {Lo: 0x1f7e0, Hi: 0x1f7f0, Stride: 1}, {Lo: 0x1f90c, Hi: 0x1f9ff, Stride: 1}, {Lo: 0x1fa70, Hi: 0x1faff, Stride: 1},
		{Lo: 0x20000, Hi: 0x3fffd, Stride: 1},
	},
}

// node is a process in its place: branch is the part of the tree left of it.
type node struct {
	proctree.Process
	branch string
}

// branches are what the tree is drawn with.
type branches struct{ tee, corner, pipe, none string }

func branchesFor(v view) branches {
	if v.ascii {
		return branches{"|- ", "`- ", "|  ", "   "}
	}
	return branches{"├─ ", "└─ ", "│  ", "   "}
}

// arrange puts the processes in the order of the picture. A process is a root
// if its parent is not in the table, or is younger than itself: then the parent
// has ended and its number was used again, as happens on Windows. Every process
// appears once whatever the parents say; the table is not read at one moment,
// so that they may even form a circle.
func arrange(table []proctree.Process, v view) []node {
	lines := branchesFor(v)
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
	if len(v.roots) > 0 {
		roots = topmost(v.roots, rows, children)
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

// topmost returns the rows of the PIDs, first those that are not below another one of
// them, in their order.
func topmost(pids []int, rows map[int]int, children map[int][]int) []int {
	parents := make(map[int]int)
	for parent, below := range children {
		for _, i := range below {
			parents[i] = parent
		}
	}
	asked := make(map[int]bool)
	var inOrder []int
	for _, pid := range pids {
		if i, ok := rows[pid]; ok {
			asked[i] = true
			inOrder = append(inOrder, i)
		}
	}
	var roots []int
	for _, i := range inOrder {
		met := map[int]bool{i: true}
		parent, has := parents[i]
		for has && !asked[parent] && !met[parent] {
			met[parent] = true
			parent, has = parents[parent]
		}
		if !has || !asked[parent] || parent == i {
			roots = append(roots, i)
		}
	}
	return append(roots, inOrder...) // for a circle of them
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
	return lasting(max(now.Sub(p.Started), 0))
}

// lasting is a length of time, in its two largest units.
func lasting(d time.Duration) string {
	const day = 24 * time.Hour
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
