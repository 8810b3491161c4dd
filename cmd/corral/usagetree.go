//go:build linux || darwin || freebsd || windows

package main

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/corral-run/corral/internal/proctree"
	"github.com/corral-run/corral/internal/registry"
)

// usageColumns are what is left of a tree that shows what processes use.
var usageColumns = []column{
	{name: "PID"}, {name: "STATE", words: true, spare: 3}, {name: "CPU%"}, {name: "TIME", spare: 4}, {name: "MEMORY", spare: 1}, {name: "AGE", spare: 2},
}

// usagePart is a run, or what `corral tree --watch` shows.
type usagePart struct {
	heading *heading // nil: none
	members []proctree.Process
	roots   []int // as in view: none are all
}

// heading is a line about a run.
type heading struct {
	run   string // its ID
	title string
	style string
	since time.Time
}

// usageItem is a line of the picture: who it is about, and how it looks.
type usageItem struct {
	run     string           // the ID of its run; empty in `corral tree --watch`
	process proctree.Process // no PID: it is about the run
	gridRow
}

// usageTree is the tree of processes with CPU, memory and age, of all who show one.
func usageTree(parts []usagePart, m *meter, v view) []usageItem {
	var items []usageItem
	for _, part := range parts {
		v.roots = part.roots
		nodes := arrange(part.members, v)
		run := ""
		if h := part.heading; h != nil {
			run = h.run
			all := m.of(part.members...)
			items = append(items, usageItem{run: run, gridRow: gridRow{
				cells: usageCells(span{"", ""}, span{"", ""}, all, age(proctree.Process{Started: h.since}, v.now)),
				title: span{printable(h.title), h.style},
			}})
			hang(nodes, v)
		}
		for _, n := range nodes {
			p := n.Process
			items = append(items, usageItem{run: run, process: p, gridRow: gridRow{
				cells:  usageCells(span{strconv.Itoa(p.PID), ""}, span{state(p), stateStyle(p.State)}, m.of(p), age(p, v.now)),
				branch: n.branch,
				title:  span{title(p), titleStyle(p)},
			}})
		}
	}
	return items
}

func usageCells(pid, state span, a amounts, age string) []span {
	return []span{pid, state, {a.percent(), ""}, {a.time(), ""}, {memory(a.memory), ""}, {age, ""}}
}

// hang puts the roots of a tree below a heading.
func hang(nodes []node, v view) {
	lines := branchesFor(v)
	last := -1
	for i, n := range nodes {
		if n.branch == "" {
			last = i
		}
	}
	for i, n := range nodes {
		own, below := lines.tee, lines.pipe
		if i >= last {
			own, below = lines.corner, lines.none
		}
		if n.branch == "" {
			nodes[i].branch = own
		} else {
			nodes[i].branch = below + n.branch
		}
	}
}

// drawUsage returns the picture: the names of the columns, and a line for each item.
func drawUsage(items []usageItem, v view) []string {
	rows := make([]gridRow, len(items))
	for i, item := range items {
		rows[i] = item.gridRow
	}
	return drawGrid(usageColumns, rows, v)
}

// membersIn returns the rows of a run's members. Those of an owner in another PID
// namespace have other numbers here, so that there is only what the owner says.
func membersIn(table []proctree.Process, r *knownRun, members []registry.Process) (rows []proctree.Process) {
	if r.state == stateUnseen {
		for _, p := range members {
			rows = append(rows, proctree.Process{ID: p.ID(), State: proctree.Unknown, Threads: 1, Args: p.Command})
		}
		return rows
	}
	ids := make(map[proctree.ID]bool, len(members))
	for _, p := range members {
		ids[p.ID()] = true
	}
	for _, p := range table {
		if ids[p.ID] {
			rows = append(rows, p)
		}
	}
	return redact(rows, r)
}

// redact leaves out what a run is not to show.
func redact(rows []proctree.Process, r *knownRun) []proctree.Process {
	if !r.Redacted {
		return rows
	}
	rows = slices.Clone(rows)
	for i, p := range rows {
		rows[i].Args = p.Args[:min(1, len(p.Args))]
	}
	return rows
}

// runTitle is a run on one line.
func runTitle(r *knownRun, phase string) string {
	words := []string{r.Name, "(" + r.ID + ")", phase}
	if len(r.Labels) > 0 {
		words = append(words, "["+labels(r.Labels).String()+"]")
	}
	return strings.Join(words, " ") + ": " + commandLine(&r.Entry)
}
