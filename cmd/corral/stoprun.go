//go:build linux || darwin || freebsd || windows

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/corral-run/corral"
	"github.com/corral-run/corral/internal/registry"
)

// stopFlags are those of `corral stop`.
type stopFlags struct {
	selection
	signal signalValue
	grace  duration
	kept   bool
}

func newStop() *cobra.Command {
	o := &stopFlags{signal: signalValue{Signal: defaultSignal}, grace: duration(defaultGrace)}
	c := &cobra.Command{
		Use:   "stop [flags] RUN...",
		Short: "Stop runs, gracefully first",
		Long: `Stop each RUN, given by its ID or its name, and return when nothing of it is left. A
run is stopped by its own plan, as its owner would, or by --signal and --grace.
Several are stopped at the same time. A run that is over is no error.

With --kept it stops what the runs have left alone on purpose, with all that is
below it: see 'corral ps --kept'.`,
		Example: `  corral stop web
  corral stop --label team=a --grace 30s
  corral stop --all
  corral stop --kept --all`,
		Annotations: map[string]string{exitStatuses: `0	all are over, or were already
1	there is no such run, or some could not be stopped
125	bad arguments
`},
		DisableFlagsInUseLine: true,
		ValidArgsFunction:     completeRuns,
		RunE: func(c *cobra.Command, args []string) error {
			flags := c.Flags()
			custom := flags.Changed("signal") || flags.Changed("grace")
			return o.eachRun(c, args, func(r *knownRun) bool {
				if o.kept {
					return r.kept != nil
				}
				return r.live()
			}, func(ctx context.Context, r *knownRun) (string, error) {
				switch {
				case o.kept && r.kept == nil:
					return "nothing of it was kept, or lives", nil
				case o.kept:
					return o.stopKept(ctx, r)
				}
				return o.stop(ctx, r, custom)
			})
		},
	}
	o.define(c, "all runs")
	flags := c.Flags()
	flags.VarP(&o.signal, "signal", "s", "stop with this SIGNAL first, and not by the run's own plan; KILL: at once")
	flags.VarP(&o.grace, "grace", "k", "kill what is left this DURATION after the signal")
	flags.BoolVar(&o.kept, "kept", false, "stop what the runs have left alone on purpose")
	complete(c, "signal", signalNames)
	complete(c, "grace", nil)
	return c
}

// stop stops a run, and says what became of it.
func (o *stopFlags) stop(ctx context.Context, r *knownRun, custom bool) (string, error) {
	req := registry.Request{Do: "stop"}
	if custom {
		req.Signal, req.Grace = int(o.signal.Signal), time.Duration(o.grace)
		if req.Grace == 0 {
			req.Signal = int(syscall.SIGKILL)
		}
	}
	reply, err := r.ask(ctx, req)
	if errors.Is(err, os.ErrProcessDone) {
		return "over already", nil
	}
	if err != nil {
		return "", err
	}
	if r.log != "" { // the record is complete when its owner has ended
		late, cancel := context.WithTimeout(ctx, ownerPatience)
		defer cancel()
		r.awaitOwner(late)
	}
	switch out := reply.Outcome; {
	case out == nil:
		return "", errors.New("its owner does not say how it ended")
	case out.Survivors > 0:
		return "", fmt.Errorf("%s could not be stopped", processes(out.Survivors, ""))
	case out.Unknown != "":
		return "", fmt.Errorf("it is not known whether anything is left: %s", out.Unknown)
	case out.Ending != string(corral.Stopped):
		return "over already", nil
	case out.Forced:
		return "stopped by force", nil
	}
	return "stopped", nil
}

// ownerPatience bounds the wait for a corral that has nothing to do any more but to
// end.
const ownerPatience = 10 * time.Second

// mostAtOnce bounds how many runs are asked at the same time: each takes a descriptor.
const mostAtOnce = 64

// eachRun does something with the runs that args or the flags name, at the same time,
// and says in their order what became of each. Those that the flags name must be meant.
func (s *selection) eachRun(c *cobra.Command, args []string, meant func(*knownRun) bool, do func(context.Context, *knownRun) (string, error)) error {
	byFlags := s.all || len(s.labels) > 0
	switch {
	case len(args) > 0 && byFlags:
		return errors.New("--all and --label name the runs: leave out the names, or the flags")
	case len(args) == 0 && !byFlags:
		return fmt.Errorf("%s needs a run, by its ID or its name, or --label, or --all", c.Name())
	}
	runs, err := s.runs(c)
	if err != nil {
		return err
	}
	chosen, failed := s.choose(c, runs, args, meant)
	type result struct {
		said string
		err  error
	}
	results := make([]result, len(chosen))
	places := make(chan struct{}, mostAtOnce)
	var all sync.WaitGroup
	for i, r := range chosen {
		all.Go(func() {
			places <- struct{}{}
			defer func() { <-places }()
			results[i].said, results[i].err = do(c.Context(), r)
		})
	}
	all.Wait()
	for i, r := range chosen {
		if err := results[i].err; err != nil {
			say(c.ErrOrStderr(), "cannot %s %s: %v", c.Name(), r.title(), err)
			failed = true
			continue
		}
		if _, err := fmt.Fprintf(c.OutOrStdout(), "%s: %s\n", r.title(), results[i].said); err != nil {
			return &exitError{statusOwn, err}
		}
	}
	if failed {
		return &exitError{status: statusStuck}
	}
	return nil
}

// choose returns the runs that args or the flags name, each once.
func (s *selection) choose(c *cobra.Command, runs []*knownRun, args []string, meant func(*knownRun) bool) (chosen []*knownRun, failed bool) {
	if len(args) == 0 {
		for _, r := range runs {
			if meant(r) && s.has(r) {
				chosen = append(chosen, r)
			}
		}
		return chosen, false
	}
	met := make(map[string]bool)
	for _, word := range args {
		r, err := pick(runs, word)
		switch {
		case err != nil:
			say(c.ErrOrStderr(), "%v", err)
			failed = true
		case !met[r.ID]:
			met[r.ID] = true
			chosen = append(chosen, r)
		}
	}
	return chosen, failed
}
