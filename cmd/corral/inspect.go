//go:build linux || darwin || freebsd || windows

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/corral-run/corral/internal/registry"
)

func newInspect() *cobra.Command {
	var s selection
	asJSON := false
	c := &cobra.Command{
		Use:   "inspect [flags] RUN",
		Short: "Show all that is known of a run",
		Long: `Show what is known of RUN, given by its ID or its name: who started it, when, and
where, what holds it, what it is doing, and the tree of its processes.

PHASE is starting; running; ending, when its command has ended, and it deals with what that
has left; or stopping.`,
		Example: `  corral inspect web
  corral inspect --json web | jq .members`,
		Annotations: map[string]string{exitStatuses: `0	it has been shown
1	there is no such run, or its owner does not answer
125	bad arguments, or it cannot be written
`},
		DisableFlagsInUseLine: true,
		Args:                  needRun,
		ValidArgsFunction:     completeRuns,
		RunE: func(c *cobra.Command, args []string) error {
			r, err := s.run(c, args[0], statusStuck)
			if err != nil {
				return err
			}
			return inspect(c, r, asJSON)
		},
	}
	s.defineUser(c)
	c.Flags().BoolVar(&asJSON, "json", false, "write JSON: an object")
	return c
}

// inspection is what inspect shows, for programs.
type inspection struct {
	runJSON
	Phase   string       `json:"phase,omitempty"`
	Waiting int          `json:"waiting,omitempty"`
	Members []memberJSON `json:"members"`
	// LeftOut is what there was no room for in Members.
	LeftOut *registry.LeftOut `json:"left_out,omitempty"`
	Error   string            `json:"error,omitempty"`
}

// inspect shows a run. What is in the registry is shown also if the owner does not
// answer.
func inspect(c *cobra.Command, r *knownRun, asJSON bool) error {
	shown := inspection{runJSON: r.json(), Members: []memberJSON{}}
	var members []registry.Process
	if r.kept != nil {
		shown.Kept = r.kept.Kept
	}
	status := 0
	if r.live() {
		reply, err := r.ask(c.Context(), registry.Request{Do: "look"})
		switch {
		case errors.Is(err, context.Canceled):
			return &exitError{statusOwn, err}
		case err != nil:
			if errors.Is(err, os.ErrProcessDone) {
				err = errors.New("it has just ended")
			}
			shown.Error, status = err.Error(), statusStuck
		default:
			shown.Phase, shown.Waiting, shown.LeftOut = reply.Phase, reply.Waiting, reply.LeftOut
			members = reply.Members
		}
	}
	var err error
	if asJSON {
		shown.Members = append(shown.Members, membersJSON(r, members)...)
		err = writeJSON(c.OutOrStdout(), shown)
	} else {
		err = writeInspection(c.Context(), c.OutOrStdout(), r, &shown, members)
	}
	if err != nil {
		return &exitError{statusOwn, err}
	}
	if status != 0 {
		return &exitError{status, fmt.Errorf("cannot look at %s: %s", r.title(), shown.Error)}
	}
	return nil
}

func writeInspection(ctx context.Context, w io.Writer, r *knownRun, shown *inspection, members []registry.Process) error {
	t := newTable(w)
	row := func(name, value string) {
		if value != "" {
			t.row(name, value)
		}
	}
	row("id", r.ID)
	row("name", r.Name)
	row("labels", labels(r.Labels).String())
	row("command", commandLine(&r.Entry))
	row("directory", r.Dir)
	row("state", r.stateWords())
	row("phase", shown.Phase)
	row("owner", fmt.Sprintf("%s (pid %d)", r.Program, r.Owner.PID))
	row("started", fmt.Sprintf("%s, %s ago", r.Started.Local().Format(time.RFC3339), ageOf(r.Started)))
	if r.Ended != nil {
		row("ended", fmt.Sprintf("%s, %s", r.Ended.Time.Local().Format(time.RFC3339), r.Ended.Ending))
	}
	row("containment", r.Containment)
	row("log", r.log)
	row("control", r.NoControl)
	if shown.Waiting > 0 {
		row("waited for", fmt.Sprintf("by %d", shown.Waiting))
	}
	if shown.LeftOut != nil {
		row("not shown", shown.LeftOut.String())
	}
	for _, p := range shown.Kept {
		row("kept", fmt.Sprintf("%d (%s)", p.PID, commandLine(&registry.Entry{Command: p.Command, Redacted: r.Redacted})))
	}
	if err := t.Flush(); err != nil || len(members) == 0 {
		return err
	}
	tree, err := memberTree(ctx, w, r, members)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(w, "\n%s", tree)
	return err
}
