//go:build linux || darwin || freebsd || windows

package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/corral-run/corral/procgroup"
)

func newKill() *cobra.Command {
	first := signalValue{Signal: syscall.SIGTERM}
	grace := duration(defaultGrace)
	tree := false
	c := &cobra.Command{
		Use:   "kill [flags] PID...",
		Short: "Stop running process groups, gracefully first",
		Long: `Stop the process group of each PID: send it a signal, wait until all of it is
gone, and kill what is left after the grace period. Several are stopped at the
same time. Without --tree, descendants that are in another group stay.`,
		Example: `  corral kill 4711
  corral kill --tree --grace 30s 4711 4712`,
		Annotations: map[string]string{exitStatuses: `0	all are gone, or were already
1	some could not be stopped
125	bad arguments, or a PID that is refused: 0, 1, corral itself
`},
		Args:              needPID,
		ValidArgsFunction: completePIDs,
		RunE: func(c *cobra.Command, args []string) error {
			signal, ok := killSignals[first.Signal]
			if !ok {
				return fmt.Errorf("cannot stop with %s; use TERM, INT or KILL", &first)
			}
			if signal == procgroup.Kill {
				grace = 0 // procgroup asks first, and kills in the same moment
			}
			pids, err := parsePIDs(args)
			if err != nil {
				return err
			}
			if err := checkDescriptors(0); err != nil {
				return &exitError{statusOwn, err}
			}
			return killAll(c, pids, tree, signal, signalName(first.Signal), time.Duration(grace))
		},
	}
	flags := c.Flags()
	flags.SortFlags = false
	flags.VarP(&first, "signal", "s", "send this SIGNAL first: TERM, INT, or KILL to kill at once")
	flags.VarP(&grace, "grace", "k", "kill what is left after this DURATION")
	flags.BoolVar(&tree, "tree", false, "stop the descendants of each PID as well")
	complete(c, "signal", words("TERM", "INT", "KILL"))
	complete(c, "grace", nil)
	return c
}

// killSignals are those that a stop can begin with.
var killSignals = map[syscall.Signal]procgroup.Signal{
	syscall.SIGTERM: procgroup.Term,
	syscall.SIGINT:  procgroup.Int,
	syscall.SIGKILL: procgroup.Kill,
}

// needPID refuses arguments in which there is no process ID.
func needPID(_ *cobra.Command, args []string) error {
	if len(args) == 0 {
		return errors.New("no process ID given")
	}
	return nil
}

// parsePIDs reads process IDs, each of them once.
func parsePIDs(args []string) ([]int, error) {
	var pids []int
	for _, arg := range args {
		pid, err := parsePID(arg)
		if err != nil {
			return nil, err
		}
		if !slices.Contains(pids, pid) {
			pids = append(pids, pid)
		}
	}
	return pids, nil
}

func parsePID(s string) (int, error) {
	pid, err := strconv.ParseInt(s, 10, 32)
	if err != nil || pid < 0 {
		return 0, fmt.Errorf("%q is not a process ID", s)
	}
	return int(pid), nil
}

// killOutcome is what has become of one process group.
type killOutcome struct {
	result procgroup.Result
	err    error
}

// killAll stops all pids at once and reports in the order given.
func killAll(c *cobra.Command, pids []int, tree bool, first procgroup.Signal, name string, grace time.Duration) error {
	stop := procgroup.GracefulKillContext
	if tree {
		stop = procgroup.GracefulKillTree
	}
	outcomes := make([]killOutcome, len(pids))
	var all sync.WaitGroup
	for i, pid := range pids {
		all.Go(func() {
			outcomes[i].result, outcomes[i].err = stop(context.Background(), pid, first, grace)
		})
	}
	all.Wait()
	status := 0
	for i, pid := range pids {
		var refused *procgroup.RefusedError
		switch o := outcomes[i]; {
		case errors.As(o.err, &refused):
			say(c.ErrOrStderr(), "cannot stop %d: %s", pid, refused.Reason)
			status = statusOwn
		case o.err != nil:
			say(c.ErrOrStderr(), "cannot stop %d: %s", pid, strings.TrimPrefix(o.err.Error(), "procgroup: "))
			if status == 0 {
				status = statusStuck
			}
		case o.result == procgroup.AlreadyExited:
			fmt.Fprintf(c.OutOrStdout(), "%d: not running\n", pid)
		case o.result == procgroup.GracefulExit && first != procgroup.Kill:
			fmt.Fprintf(c.OutOrStdout(), "%d: ended by %s\n", pid, name)
		default:
			fmt.Fprintf(c.OutOrStdout(), "%d: killed\n", pid)
		}
	}
	if status != 0 {
		return &exitError{status: status}
	}
	return nil
}
