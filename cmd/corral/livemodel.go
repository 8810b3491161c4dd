//go:build linux || darwin || freebsd || windows

package main

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/corral-run/corral/internal/proctree"
)

// liveModel is what is shown by a command that goes on showing something, and what the
// keys do. It knows nothing of the terminal.
type liveModel struct {
	name  string // of the command
	runs  bool   // there are runs to be stopped
	ascii bool
	items []usageItem
	notes []string

	at    int // the selected item
	first int // the first one on the screen
	asked *target
	said  string // what became of the last one that was stopped
	page  int    // how many items fit
	pic   *picture
	now   time.Time
}

// target is what is to be stopped: a run, or a process.
type target struct {
	run     string
	process proctree.ID // no PID: the run
	title   string
}

func (t target) String() string {
	if t.process.PID == 0 {
		return "run " + t.title
	}
	return fmt.Sprintf("process %d (%s)", t.process.PID, t.title)
}

// order is what a key asks for.
type order struct {
	quit, interrupt, abort, suspend, redraw bool
	stop                                    *target
}

// show takes what a look has found. What was selected stays selected.
func (m *liveModel) show(pic *picture, now time.Time) {
	var before usageItem
	if m.at < len(m.items) {
		before = m.items[m.at]
	}
	m.pic, m.now, m.notes = pic, now, pic.notes
	m.items = usageTree(pic.parts, &pic.meter, m.view(0, false))
	same := slices.IndexFunc(m.items, func(i usageItem) bool { return i.run == before.run && i.process.ID == before.process.ID })
	if same >= 0 {
		m.at = same
	}
	m.move(0)
}

func (m *liveModel) view(width int, colour bool) view {
	return view{now: m.now, width: width, colour: colour, ascii: m.ascii}
}

// move selects the item that is n below.
func (m *liveModel) move(n int) { m.at = max(0, min(m.at+n, len(m.items)-1)) }

// press does what a key is for.
func (m *liveModel) press(k key) order {
	if asked := m.asked; asked != nil {
		m.asked = nil
		switch k {
		case keyInterrupt, keyAbort, keySuspend:
		case 'y', 'Y':
			m.said = "stopping " + asked.String()
			return order{stop: asked}
		default:
			m.said = "nothing was stopped"
			return order{}
		}
	}
	switch k {
	case 'q', 'Q':
		return order{quit: true}
	case keyInterrupt:
		return order{interrupt: true}
	case keyAbort:
		return order{abort: true}
	case keySuspend:
		return order{suspend: true}
	case keyRedraw:
		return order{redraw: true}
	}
	m.said = ""
	switch k {
	case keyUp, 'k':
		m.move(-1)
	case keyDown, 'j':
		m.move(1)
	case keyPageUp:
		m.move(-max(1, m.page))
	case keyPageDown, ' ':
		m.move(max(1, m.page))
	case keyHome, 'g':
		m.at = 0
	case keyEnd, 'G':
		m.move(len(m.items))
	case 's', 'x':
		m.ask(k == 's')
	}
	return order{}
}

// ask asks whether the run or the process of the selected line is to be stopped.
func (m *liveModel) ask(wholeRun bool) {
	if m.at >= len(m.items) {
		return
	}
	item := m.items[m.at]
	switch {
	case wholeRun && !m.runs:
		m.said = "these are no runs; x stops a process"
	case wholeRun:
		m.asked = &target{run: item.run, title: m.runTitle(item.run)}
	case item.process.PID == 0:
		m.said = "this is a run, which s stops; x is for a process"
	case item.process.State == proctree.Unknown && item.process.Started.IsZero():
		m.said = "this process has another number here; s stops its run"
	case !item.process.Alive():
		m.said = "this process has ended"
	default:
		m.asked = &target{run: item.run, process: item.process.ID, title: shorten(title(item.process), 40)}
	}
}

// runTitle is the name and ID of a run on the screen.
func (m *liveModel) runTitle(id string) string {
	for _, item := range m.items {
		if item.run == id && item.process.PID == 0 {
			words := strings.Fields(item.title.text)
			return strings.Join(words[:min(2, len(words))], " ")
		}
	}
	return id
}

// screen returns what is shown: one line for each of the screen.
func (m *liveModel) screen(width, height int, colour bool) []string {
	v := m.view(width, colour)
	lines := make([]string, max(0, height))
	at, end := 0, height
	if height >= 4 {
		lines[0] = line([]span{{m.summary(), bold}}, v)
		at++
	}
	if height >= 2 || m.asked != nil && height == 1 {
		end--
		lines[end] = m.status(v)
	}
	items := m.items
	selected := slices.Clone(items)
	if m.at < len(selected) {
		selected[m.at].selected = true
	}
	grid := drawUsage(selected, v)
	if height >= 3 {
		lines[at] = grid[0]
		at++
	}
	m.page = max(0, end-at)
	m.scroll()
	copy(lines[at:max(at, end)], grid[min(1+m.first, len(grid)):])
	return lines
}

// scroll sees to it that the selected item is on the screen, and little empty space.
func (m *liveModel) scroll() {
	m.first = min(m.first, max(0, len(m.items)-m.page))
	if m.at < m.first {
		m.first = m.at
	}
	if m.page > 0 && m.at >= m.first+m.page {
		m.first = m.at - m.page + 1
	}
}

// summary is the first line.
func (m *liveModel) summary() string {
	if m.pic == nil {
		return m.name + ": looking"
	}
	runs := 0
	var all []proctree.Process
	for _, item := range m.items {
		if item.process.PID == 0 {
			runs++
		} else {
			all = append(all, item.process)
		}
	}
	words := []string{m.name + ": " + counted(len(all), "process", "processes")}
	if m.runs {
		words = []string{m.name + ": " + counted(runs, "run", "runs"), counted(len(all), "process", "processes")}
	}
	a := m.pic.meter.of(all...)
	words = append(words, "CPU% "+a.percent(), "memory "+memory(a.memory), m.now.Format(time.TimeOnly))
	return strings.Join(words, ", ")
}

func counted(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

// status is the last line: a question, what was done, what is wrong, or what keys
// there are.
func (m *liveModel) status(v view) string {
	arrows := "↑↓ select"
	if m.ascii {
		arrows = "j k select"
	}
	help := "q quit  " + arrows
	if m.runs {
		help += "  s stop run"
	}
	help += "  x stop process"
	if len(m.notes) > 0 {
		help = m.notes[0]
	}
	switch {
	case m.asked != nil && m.asked.process.PID != 0:
		return line([]span{{printable("y to stop " + m.asked.String() + " and what is below it"), inverse}}, v)
	case m.asked != nil:
		return line([]span{{printable("y to stop " + m.asked.String()), inverse}}, v)
	}
	return line([]span{{printable(cmp.Or(m.said, help)), dim}}, v)
}
