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

func newSignal() *cobra.Command {
	var s selection
	c := &cobra.Command{
		Use:   "signal [flags] SIGNAL RUN...",
		Short: "Send a signal to all processes of runs",
		Long: `Send SIGNAL, a name or a number (HUP, SIGHUP, 1), to every process of each RUN, given
by its ID or its name. KILL reaches forks in flight, too. To stop a run, 'corral
stop' is the better way: it waits, and kills what does not obey.`,
		Example: `  corral signal HUP web
  corral signal --label team=a USR1`,
		Annotations: map[string]string{exitStatuses: `0	the signal has been sent to all
1	there is no such run, it is over, or it could not be signalled
125	bad arguments
`},
		DisableFlagsInUseLine: true,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return errors.New("signal needs a signal, such as HUP, and then runs")
			}
			if _, err := parseSignal(args[0]); err != nil {
				return fmt.Errorf("%q: %w", args[0], err)
			}
			return nil
		},
		ValidArgsFunction: func(c *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
			if len(args) == 0 {
				return signalNames(), cobra.ShellCompDirectiveNoFileComp
			}
			return completeRuns(c, args, word)
		},
		RunE: func(c *cobra.Command, args []string) error {
			sig, _ := parseSignal(args[0])
			return s.eachRun(c, args[1:], (*knownRun).live, func(ctx context.Context, r *knownRun) (string, error) {
				_, err := r.ask(ctx, registry.Request{Do: "signal", Signal: int(sig)})
				if errors.Is(err, os.ErrProcessDone) {
					err = errors.New("it is over")
				}
				return "sent " + signalName(sig), err
			})
		},
	}
	s.define(c, "all runs")
	return c
}
