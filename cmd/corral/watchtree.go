//go:build linux || darwin || freebsd || windows

package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/corral-run/corral/internal/proctree"
)

// treeSource shows processes and their descendants.
type treeSource struct {
	roots []proctree.ID // none: all
	meter meter
}

// watchTree goes on showing the tree.
func watchTree(c *cobra.Command, pids []int, pause time.Duration) error {
	table, err := proctree.Snapshot()
	if err != nil {
		return &exitError{statusStuck, err}
	}
	roots, err := rootsIn(table, pids)
	if err != nil {
		return &exitError{statusStuck, err}
	}
	return watch(c, &treeSource{roots: roots}, pause)
}

func (o *treeSource) look(context.Context, time.Duration) (*picture, error) {
	table, err := proctree.Snapshot()
	if err != nil {
		return nil, err
	}
	o.meter.look(table, time.Now())
	pic := &picture{meter: o.meter}
	part := usagePart{members: table}
	for _, id := range o.roots {
		if slices.ContainsFunc(table, func(p proctree.Process) bool { return p.ID == id }) {
			part.roots = append(part.roots, id.PID)
		} else {
			pic.notes = append(pic.notes, fmt.Sprintf("process %d has ended", id.PID))
		}
	}
	if len(o.roots) == 0 || len(part.roots) > 0 {
		pic.parts = []usagePart{part}
	}
	return pic, nil
}

func (o *treeSource) stopRun(context.Context, string) (string, error) {
	return "", errors.New("this is no run")
}

func (o *treeSource) mayStop(proctree.ID) error { return nil }
