//go:build linux || darwin || freebsd || windows

package main

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/corral-run/corral/internal/registry"
)

func newPS() *cobra.Command {
	var s selection
	var asJSON, quiet, kept bool
	c := &cobra.Command{
		Use:   "ps [flags]",
		Short: "List the runs that go on",
		Long: `List the runs of this user that go on, the oldest first: those of corral, and those
of programs that have named them by Cmd.Name.

STATE is running, or unseen: the owner of the run is in another PID namespace, and
may live. With --all it is also ended, with the exit status, or lost: the owner was
killed. Then the run was stopped, and its status is not known. Only runs in the
background are known when they have ended.

With --kept it lists the processes that runs have left alone on purpose (--keep,
--leftovers keep, corral detach) and that still live.`,
		Example: `  corral ps
  corral ps --label team=a --json | jq -r '.[].id'
  corral ps --kept`,
		Annotations: map[string]string{exitStatuses: `0	the list has been written, also if it is empty
125	bad arguments, or the list cannot be written
`},
		DisableFlagsInUseLine: true,
		Args:                  noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			if asJSON && quiet {
				return errors.New("--json and --quiet contradict each other")
			}
			runs, err := s.runs(c)
			if err != nil {
				return err
			}
			runs = slices.DeleteFunc(runs, func(r *knownRun) bool {
				shown := r.live() || s.all && r.state != stateKept
				if kept {
					shown = r.kept != nil
				}
				return !shown || !s.has(r)
			})
			switch {
			case quiet:
				err = writeIDs(c, runs)
			case asJSON:
				err = writeJSON(c.OutOrStdout(), runsJSON(runs, kept))
			case kept:
				err = writeKept(c, runs)
			default:
				err = writeRuns(c, runs)
			}
			if err != nil {
				return &exitError{statusOwn, err}
			}
			return nil
		},
	}
	s.define(c, "also the runs in the background that have ended")
	c.Flags().BoolVar(&kept, "kept", false, "what runs have left alone on purpose")
	c.Flags().BoolVar(&asJSON, "json", false, "write JSON: a list of objects")
	c.Flags().BoolVarP(&quiet, "quiet", "q", false, "write IDs only")
	return c
}

func writeIDs(c *cobra.Command, runs []*knownRun) error {
	for _, r := range runs {
		if _, err := fmt.Fprintln(c.OutOrStdout(), r.ID); err != nil {
			return err
		}
	}
	return nil
}

func writeRuns(c *cobra.Command, runs []*knownRun) error {
	t := newTable(c.OutOrStdout())
	t.row("ID", "NAME", "STATE", "AGE", "CONTAINMENT", "LABELS", "COMMAND")
	for _, r := range runs {
		t.row(r.ID, r.Name, r.stateWords(), ageOf(r.Started), dash(r.Containment), dash(labels(r.Labels).String()), shorten(printable(commandLine(&r.Entry)), 60))
	}
	return t.Flush()
}

func writeKept(c *cobra.Command, runs []*knownRun) error {
	t := newTable(c.OutOrStdout())
	t.row("RUN", "NAME", "PID", "LABELS", "PROCESS")
	for _, r := range runs {
		for _, p := range r.kept.Kept {
			t.row(r.ID, r.Name, strconv.Itoa(p.PID), dash(labels(r.Labels).String()), shorten(printable(commandLine(&registry.Entry{Command: p.Command, Redacted: r.Redacted})), 60))
		}
	}
	return t.Flush()
}

// stateWords is the state for people.
func (r *knownRun) stateWords() string {
	if r.state == stateEnded && r.Ended != nil {
		return fmt.Sprintf("ended %d", r.Ended.Status)
	}
	return string(r.state)
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// runJSON is a run for programs.
type runJSON struct {
	ID          string             `json:"id"`
	Name        string             `json:"name"`
	State       runState           `json:"state"`
	Labels      map[string]string  `json:"labels"`
	Command     []string           `json:"command"`
	Redacted    bool               `json:"redacted"`
	Dir         string             `json:"dir,omitempty"`
	Program     string             `json:"program"`
	Owner       int                `json:"owner_pid"`
	Leader      int                `json:"leader_pid"`
	Started     time.Time          `json:"started"`
	Containment string             `json:"containment,omitempty"`
	NoControl   string             `json:"no_control,omitempty"`
	Log         string             `json:"log,omitempty"`
	Ended       *registry.Ended    `json:"ended,omitempty"`
	Kept        []registry.Process `json:"kept,omitempty"`
}

func (r *knownRun) json() runJSON {
	j := runJSON{
		ID: r.ID, Name: r.Name, State: r.state, Labels: r.Labels, Command: r.Command, Redacted: r.Redacted, Dir: r.Dir,
		Program: r.Program, Owner: r.Owner.PID, Leader: r.Leader.PID, Started: r.Started, Containment: r.Containment,
		NoControl: r.NoControl, Log: r.log, Ended: r.Ended,
	}
	if j.Labels == nil {
		j.Labels = map[string]string{}
	}
	if j.Command == nil {
		j.Command = []string{}
	}
	return j
}

func runsJSON(runs []*knownRun, kept bool) []runJSON {
	list := []runJSON{}
	for _, r := range runs {
		j := r.json()
		if kept {
			j.Kept = r.kept.Kept
		}
		list = append(list, j)
	}
	return list
}
