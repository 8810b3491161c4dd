//go:build linux || darwin || freebsd || windows

package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/corral-run/corral/internal/registry"
)

func newWait() *cobra.Command {
	var s selection
	c := &cobra.Command{
		Use:   "wait [flags] RUN",
		Short: "Wait for the end of a run, and exit with its status",
		Long: `Wait until RUN, given by its ID or its name, is over, with all that it has started,
and exit with the status that corral has for it: that of its command, 124 if it ran
out of time, and so on.

A run in the background can be waited for when it is over, until 'corral prune'
removes its record. Another run has no record: its status is known only to those who
have waited for its end.`,
		Example: `  corral run --detach --name build make
  corral wait build`,
		Annotations: map[string]string{exitStatuses: `125	bad arguments, there is no such run, or its status is not known
other	the exit status of the run
`},
		DisableFlagsInUseLine: true,
		Args:                  needRun,
		ValidArgsFunction:     completeRuns,
		RunE: func(c *cobra.Command, args []string) error {
			r, err := s.run(c, args[0], statusOwn)
			if err != nil {
				return err
			}
			defer r.watchSuspended(c.Context(), func() {
				say(c.ErrOrStderr(), "the owner of %s is suspended: %s", r.title(), r.resume())
			})()
			status, err := r.await(c.Context())
			if err != nil {
				return &exitError{statusOwn, fmt.Errorf("cannot wait for %s: %w", r.title(), err)}
			}
			return &exitError{status: status}
		},
	}
	s.defineUser(c)
	return c
}

// errLost says that nobody can know how a run ended; errNoRecord that nobody has
// written it down.
var (
	errLost     = errors.New("its owner was killed, so its exit status is not known; the run was stopped")
	errNoRecord = errors.New("its exit status is not known: its owner was killed, or could not record it; the run is over")
)

// await waits for the end of a run, and returns its status.
func (r *knownRun) await(ctx context.Context) (int, error) {
	if r.log != "" {
		return r.awaitRecord(ctx)
	}
	if r.state == stateKept {
		return 0, errors.New("it is over, and how it ended is not known any more; what it has kept goes on")
	}
	reply, err := r.ask(ctx, registry.Request{Do: "wait"})
	switch {
	case errors.Is(err, os.ErrProcessDone) && r.found.Owner.Look() == registry.Stale:
		return 0, errLost
	case errors.Is(err, os.ErrProcessDone):
		return 0, errors.New("it has just ended, and how is not known")
	case err != nil:
		return 0, err
	case reply.Outcome == nil:
		return 0, errors.New("its owner does not say how it ended")
	case reply.Outcome.Failed == registry.LetGo:
		return 0, errors.New("its owner has let it go, and does not know how it ends")
	case reply.Outcome.Failed == registry.NotStarted:
		return 0, errors.New("its command could not be started")
	case reply.Outcome.Failed == registry.NotWaited:
		return 0, errors.New("it is over, and its owner does not know how it ended, as it does not wait for it")
	}
	return runStatus(reply.Outcome), nil
}

// awaitRecord is await for a run in the background: its owner ends when it is over.
func (r *knownRun) awaitRecord(ctx context.Context) (int, error) {
	if r.Ended != nil {
		return r.Ended.Status, nil
	}
	if err := r.awaitOwner(ctx); err != nil {
		return 0, err
	}
	if e := r.reread(); e != nil && e.Ended != nil {
		return e.Ended.Status, nil
	}
	return 0, errNoRecord
}
