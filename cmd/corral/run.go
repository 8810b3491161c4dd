//go:build linux || darwin || freebsd || windows

package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/corral-run/corral"
	"github.com/corral-run/corral/internal/promise"
)

// runFlags are the flags of `corral` and `corral run`.
type runFlags struct {
	timeout     duration
	signal      signalValue
	grace       duration
	leftovers   corral.LeftoverPolicy
	containment corral.Containment
	require     corral.Containment
	pty         bool
	outputLimit size
	lifelines   lifelines
	report      fileName
	quiet       bool
	verbose     bool
	asInit      *initFlags // for `corral init`
}

// defaultGrace is the library's: the wait of the one step of its stop plan.
var defaultGrace = corral.DefaultStopPlan()[0].Wait

// newRun returns the command that runs a command. It exists thrice, as the root,
// as `run`, which reaches a command that has the name of one of corral's, and as
// the base of `init`.
func newRun(use string, asInit *initFlags) *cobra.Command {
	o := &runFlags{signal: signalValue{syscall.SIGTERM}, grace: duration(defaultGrace), asInit: asInit}
	if asInit != nil {
		o.grace = duration(initGrace)
	}
	c := &cobra.Command{
		Use: use,
		Long: `Run COMMAND with the standard input, output and error of corral. When it ends,
every process it has started and left running is stopped, and named on standard
error. When the time is up, or corral is asked to end by SIGTERM or by a second
Ctrl-C, all of them are stopped.

Flags end at the first word that is not a flag, or at --; what follows is the
command and its arguments.

With --pty the command has a terminal of its own, which corral's standard input
is typed on, and whose contents are written to standard output.

DURATION is a number of seconds (10, 2.5), or one with units (500ms, 5m, 1m30s,
2d). SIGNAL is a name or a number (TERM, SIGTERM, 15). SIZE is a number of bytes,
or one with a unit (64K, 1M, 2G).`,
		Example: `  corral -- npm test
  corral --timeout 10m --report run.json make check
  corral --leftovers fail -- ./integration-tests`,
		Annotations: map[string]string{exitStatuses: `123	the command succeeded, but left processes behind (--leftovers fail)
124	it ran out of time (137 if it had to be killed)
125	bad arguments, or corral itself failed
126	the command was found but cannot be executed
127	the command was not found
128+n	signal n ended the command; it ends corral, too, if corral has got it
other	the exit status of the command
`},
		DisableFlagsInUseLine: true,
		Args: func(_ *cobra.Command, args []string) error {
			switch {
			case len(args) == 0:
				return errors.New("no command given")
			case args[0] == "":
				return errors.New("the command is an empty word")
			}
			return nil
		},
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return nil, cobra.ShellCompDirectiveDefault // files, as for any command
		},
		RunE: func(c *cobra.Command, args []string) error {
			if o.asInit != nil {
				if err := o.asInit.begin(c.Flags()); err != nil {
					return err
				}
			}
			if o.quiet && o.verbose {
				return errors.New("--quiet and --verbose contradict each other")
			}
			err := o.run(c.ErrOrStderr(), args)
			var e *exit
			if errors.As(err, &e) && e.status == statusNotFound && e.err != nil {
				e.err = fmt.Errorf("%w%s", e.err, wordHint(c, args[0]))
			}
			return err
		},
	}
	leftovers := &choice[corral.LeftoverPolicy]{kind: "POLICY", to: &o.leftovers, current: "kill", options: []option[corral.LeftoverPolicy]{
		{name: "kill", value: corral.KillLeftovers},
		{name: "keep", value: corral.KeepLeftovers},
		{name: "fail", value: corral.FailOnLeftovers},
		{name: "wait", value: corral.WaitForLeftovers},
		{name: "detach", value: corral.DetachLeftovers},
	}}
	containment := &choice[corral.Containment]{kind: "MECHANISM", to: &o.containment, current: "auto", options: containments(true)}
	require := &choice[corral.Containment]{kind: "MECHANISM", to: &o.require, options: containments(false)}

	flags := c.Flags()
	flags.SortFlags = false
	flags.SetInterspersed(false)
	flags.VarP(&o.timeout, "timeout", "t", "stop the run after this DURATION; 0: never")
	flags.VarP(&o.signal, "signal", "s", "stop with this SIGNAL first; KILL: at once")
	flags.VarP(&o.grace, "grace", "k", "kill what is left this DURATION after the signal")
	flags.Var(leftovers, "leftovers", "stop what the command leaves behind, keep it, stop it and fail, wait for its end, or keep it also if corral gets SIGKILL: POLICY is "+strings.Join(leftovers.names(), ", "))
	if asInit != nil {
		asInit.flags(flags)
	}
	flags.Var(containment, "containment", "hold the run with this MECHANISM: "+strings.Join(containment.names(), ", "))
	flags.Var(require, "require", "do not start with a weaker MECHANISM than this")
	flags.Var(&o.lifelines, "lifeline", "stop the run when this LIFELINE is lost: stdin, tty, parent, fd:N, pid:N; may be repeated")
	flags.BoolVar(&o.pty, "pty", false, "give the command a terminal of its own")
	flags.Var(&o.outputLimit, "output-limit", "pass on the first and the last half of SIZE bytes of each output; 0: all")
	flags.Var(&o.report, "report", "write a report to FILE, as JSON; -: to standard error")
	flags.BoolVarP(&o.quiet, "quiet", "q", false, "do not say what was stopped")
	flags.BoolVarP(&o.verbose, "verbose", "v", false, "say what corral does, on standard error")
	complete(c, "signal", signalNames()...)
	complete(c, "timeout")
	complete(c, "grace")
	complete(c, "output-limit")
	complete(c, "lifeline", "stdin", "tty", "parent", "fd:", "pid:")
	complete(c, "leftovers", leftovers.names()...)
	complete(c, "containment", containment.names()...)
	complete(c, "require", require.names()...)
	return c
}

// containments are what a run may be held by, or required to be held by at least. One
// that only another system has is not to be had here; but it may be required, where
// there is a stronger one.
func containments(wanted bool) []option[corral.Containment] {
	var options []option[corral.Containment]
	if wanted {
		options = append(options, option[corral.Containment]{name: "auto", value: corral.Auto})
	}
	here := promise.On(runtime.GOOS)
	for _, c := range []corral.Containment{corral.Job, corral.Cgroup, corral.PIDNS, corral.Keeper, corral.Group} {
		there := slices.ContainsFunc(here, func(p promise.Promise) bool { return p.Containment == string(c) })
		options = append(options, option[corral.Containment]{name: string(c), value: c, elsewhere: wanted && !there})
	}
	return options
}

// run runs the command in args to its end, and exits with its status, or ends as it
// has ended.
func (o *runFlags) run(stderr io.Writer, args []string) error {
	if err := reserve(len(o.lifelines)); err != nil {
		return err
	}
	j := &job{runFlags: o, stderr: stderr, tty: findTerminal(), restore: func() {}}
	if err := j.openReport(); err != nil {
		return err
	}
	// From here on a signal must not end corral before it has cleaned up, up
	// to the end of the process: none is let go again.
	listen, answer := caught, func(cmd *corral.Cmd, signals chan os.Signal) { relay(cmd, signals, j.tty) }
	if o.asInit != nil {
		listen, answer = passedOn, o.asInit.passOn
	}
	signals := listenTo(listen())
	var err error
	if j.cmd, err = startCommand(args, j.command); err != nil {
		return startError(args[0], err)
	}
	if o.pty {
		if !j.fed() {
			j.restore = j.keys.typeOn(j.cmd.PTY, func(err error) { say(stderr, "cannot read the input: %v", err) })
		}
		close(j.typing)
		defer j.restore()
	}
	go answer(j.cmd, signals.passed)
	err = j.cmd.Wait()
	return j.end(err, signals)
}
