//go:build linux || darwin || freebsd || windows

package main

import (
	"context"
	"io"

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
