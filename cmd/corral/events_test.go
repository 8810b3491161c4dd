//go:build linux || darwin || freebsd || windows

package main

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/corral-run/corral/internal/event/eventtest"
)

// told FILE KIND... says that a file has events of these kinds, in this order, as they
// are in docs/events.schema.json. All that belong to a run follow each other. With
// -sorted before FILE, the KINDs are sorted: a process may end before the step that
// ends it has been told.
func cmdTold(ts *testscript.TestScript, neg bool, args []string) {
	sorted := args[0] == "-sorted"
	if sorted {
		args = args[1:]
	}
	schema, err := eventtest.Load("../../docs/events.schema.json")
	ts.Check(err)
	var kinds, runs []string
	for line := range bytes.Lines([]byte(ts.ReadFile(args[0]))) {
		ts.Check(schema.Check(line))
		var e struct{ Event, Run string }
		ts.Check(json.Unmarshal(line, &e))
		kinds = append(kinds, e.Event)
		if len(runs) == 0 || runs[len(runs)-1] != e.Run {
			runs = append(runs, e.Run)
		}
	}
	slices.Sort(runs)
	if sorted {
		slices.Sort(kinds)
	}
	if got, want := strings.Join(kinds, " "), strings.Join(args[1:], " "); got != want || len(slices.Compact(runs)) != strings.Count(want, "run-started") {
		ts.Fatalf("there are %s; want %s; of the runs %q", got, want, runs)
	}
}
