//go:build linux || darwin || freebsd || windows

package main

import (
	"context"
	"io"
	"time"

	"github.com/corral-run/corral/internal/proctree"
	"github.com/corral-run/corral/internal/registry"
)

// memberTree is the picture of a run's members. It takes a moment, in which it is seen
// what they use.
func memberTree(ctx context.Context, w io.Writer, r *knownRun, members []registry.Process) (string, error) {
	v := viewFor(w)
	var m meter
	table, err := m.twoLooks(ctx)
	if err != nil {
		return "", err
	}
	v.now = m.at
	parts := []usagePart{{members: membersIn(table, r, members)}}
	return joinLines(drawUsage(usageTree(parts, &m, v), v)), nil
}

// memberJSON is a member for programs. What is not known is not there.
type memberJSON struct {
	registry.Process
	CPU     *float64   `json:"cpu_seconds,omitempty"`
	Memory  *int64     `json:"memory_bytes,omitempty"`
	Started *time.Time `json:"started,omitempty"`
}

// membersJSON are the members, with what they use.
func membersJSON(r *knownRun, members []registry.Process) []memberJSON {
	table, _ := proctree.Snapshot() // without one, that is not known
	if r.state == stateUnseen {
		table = nil // its numbers are others'
	}
	rows := make(map[proctree.ID]proctree.Process, len(table))
	for _, p := range table {
		rows[p.ID] = p
	}
	list := make([]memberJSON, len(members))
	for i, p := range members {
		list[i].Process = p
		row, ok := rows[p.ID()]
		if ok && row.CPUKnown {
			seconds := row.CPU.Seconds()
			list[i].CPU, list[i].Memory = &seconds, &row.RSS
		}
		if ok && !row.Started.IsZero() {
			list[i].Started = &row.Started
		}
	}
	return list
}
