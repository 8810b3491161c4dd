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
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/corral-run/corral"
	"github.com/corral-run/corral/internal/promise"
)

// runFlags are the flags of `corral` and `corral run`. A new one is a field here, a
// line of define and, where the library has to know of it, a line of apply.
type runFlags struct {
	timeout     duration
	idleTimeout duration
	stop        planValue
	signal      signalValue
	grace       duration
	leftovers   corral.LeftoverPolicy
	keepFlags
	containment corral.Containment
	require     corral.Containment
	userScope   userScope
	pty         bool
	outputLimit size
	limit       limitFlags
	lifelines   lifelines
	report      fileName
	events      fileName
	quiet       bool
	verbose     bool
	shell       shellFlags
	register    registerFlags
	variables   []string   // of the flags, which the command does not get
	init        *initFlags // of `corral init`, nil for the others
}

// define adds the flags to c, in the order in which help and man page list them.
func (o *runFlags) define(c *cobra.Command) {
	flags := c.Flags()
	flags.SortFlags = false
	flags.SetInterspersed(false)
	add := func(value pflag.Value, name, short, usage string, completions func() []string) {
		flags.VarP(value, name, short, usage)
		complete(c, name, completions)
	}
	leftovers := &choice[corral.LeftoverPolicy]{kind: "POLICY", to: &o.leftovers, current: "kill", options: leftoverOptions}
	containment := &choice[corral.Containment]{kind: "MECHANISM", to: &o.containment, current: "auto", options: containmentOptions(true)}
	require := &choice[corral.Containment]{kind: "MECHANISM", to: &o.require, options: containmentOptions(false)}

	o.shell.define(c)
	add(&o.timeout, "timeout", "t", "stop the run after this DURATION; 0: never", nil)
	add(&o.idleTimeout, "idle-timeout", "", "stop the run after this DURATION without output; 0: never", nil)
	add(&o.stop, "stop", "", "stop by this PLAN: steps with commas, each a signal or stdin (close it) with the DURATION it may take, such as stdin:5s,TERM:5s; then what is left is killed", planNames)
	add(&o.signal, "signal", "s", "stop with this SIGNAL first; KILL: at once", signalNames)
	add(&o.grace, "grace", "k", "kill what is left this DURATION after the signal", nil)
	add(leftovers, "leftovers", "", "what to do with processes that the command leaves behind: POLICY is kill (stop them), keep, fail (stop them, and exit with 123 instead of 0), wait (for their end), or detach (keep them even if corral gets SIGKILL)", leftovers.names)
	if o.init != nil {
		o.init.define(flags)
	} else {
		o.keepFlags.define(c)
	}
	add(containment, "containment", "", "hold the run with this MECHANISM: "+strings.Join(containment.names(), ", "), containment.names)
	add(require, "require", "", "do not start with a weaker MECHANISM than this", require.names)
	o.userScope.define(c)
	add(&o.lifelines, "lifeline", "", "stop the run when this LIFELINE is lost: stdin, tty, parent, fd:N, pid:N; may be repeated", lifelineWords)
	o.register.define(add, flags, o.init == nil)
	flags.BoolVar(&o.pty, "pty", false, "give the command a terminal of its own")
	add(&o.outputLimit, "output-limit", "", "pass on the first and the last half of SIZE bytes of each output; 0: all", nil)
	o.limit.define(add)
	flags.Var(&o.report, "report", "write a report to FILE, as JSON; -: to standard error")
	flags.Var(&o.events, "events", "append what happens to FILE while the run goes on, as lines of JSON; fd:N: to descriptor N")
	flags.BoolVarP(&o.quiet, "quiet", "q", false, "do not say what was stopped")
	flags.BoolVarP(&o.verbose, "verbose", "v", false, "say what corral does, on standard error")
}

// lifelineWords are made once: each run pays for what its flags take.
var lifelineWords = words("stdin", "tty", "parent", "fd:", "pid:")

// apply sets the fields of cmd that the flags stand for. Its streams, its terminal
// and its log are the job's affair.
func (o *runFlags) apply(cmd *corral.Cmd) {
	cmd.Timeout, cmd.IdleTimeout = time.Duration(o.timeout), time.Duration(o.idleTimeout)
	signal := o.signal.Signal
	if !o.signal.given {
		signal = 0
	}
	if cmd.StopPlan = o.stop.plan; cmd.StopPlan == nil {
		cmd.StopPlan = stopPlan(signal, time.Duration(o.grace))
	}
	cmd.Leftovers = o.leftovers
	o.keepFlags.apply(cmd)
	cmd.Containment = o.containment
	cmd.Require = o.require
	for _, name := range o.lifelines {
		cmd.Lifelines = append(cmd.Lifelines, corral.Lifeline(name))
	}
	cmd.AdoptOrphans = adoptOrphans
	cmd.Limits = o.limit.limits()
	cmd.Accounting = o.report != ""
	cmd.Env = withoutVariables(o.variables)
	if o.init != nil {
		o.init.apply(cmd)
	}
}

var leftoverOptions = []option[corral.LeftoverPolicy]{
	{name: "kill", value: corral.KillLeftovers},
	{name: "keep", value: corral.KeepLeftovers},
	{name: "fail", value: corral.FailOnLeftovers},
	{name: "wait", value: corral.WaitForLeftovers},
	{name: "detach", value: corral.DetachLeftovers},
}

// containmentOptions are what may be wanted to hold a run, or required as the
// weakest to do so. One that only another system has cannot be wanted; but it can
// be required, where there is a stronger one.
func containmentOptions(wanted bool) []option[corral.Containment] {
	var options []option[corral.Containment]
	if wanted {
		options = append(options, option[corral.Containment]{name: "auto", value: corral.Auto})
	}
	var here []promise.Promise
	if wanted {
		here = promise.On(runtime.GOOS)
	}
	for _, c := range []corral.Containment{corral.Job, corral.Cgroup, corral.PIDNS, corral.Keeper, corral.Group} {
		there := slices.ContainsFunc(here, func(p promise.Promise) bool { return p.Containment == string(c) })
		options = append(options, option[corral.Containment]{name: string(c), value: c, elsewhere: wanted && !there})
	}
	return options
}

// stopPlan is the library's plan with the given wait for its last step. With a
// signal that is not 0, that is the only step.
func stopPlan(signal syscall.Signal, grace time.Duration) corral.StopPlan {
	plan := corral.DefaultStopPlan()
	if signal != 0 {
		plan = corral.StopPlan{{Signal: signal}}
	}
	plan[len(plan)-1].Wait = grace
	return plan
}

// The library's plan begins with defaultSignal, and its last step lasts for
// defaultGrace.
var (
	defaultSignal, _ = corral.DefaultStopPlan()[0].Signal.(syscall.Signal)
	defaultGrace     = corral.DefaultStopPlan()[len(corral.DefaultStopPlan())-1].Wait
)

// newRun returns a command that runs commands. There are three: the root; `run`,
// for a command that has the name of one of corral's; and `init`.
func newRun(use string, init *initFlags) *cobra.Command {
	o := &runFlags{signal: signalValue{Signal: defaultSignal}, grace: duration(defaultGrace), init: init}
	if init != nil {
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

With -c, what follows is a command line, as for sh -c: so corral can be what others
call a shell, as npm's script-shell or SHELL in a Makefile.

Every flag of a run but -c and --detach has an environment variable, for where only
a program can be named: CORRAL_TIMEOUT=10m is --timeout 10m. A flag on the command
line counts more. COMMAND does not see these variables.

With --pty the command has a terminal of its own. corral types its standard input
on it, and writes what it shows to standard output.

With --idle-timeout, and with --output-limit, what COMMAND writes goes through
corral. With a stdin step in --stop, so does what it reads.

DURATION is a number of seconds (10, 2.5), or one with units (500ms, 5m, 1m30s,
2d). SIGNAL is a name or a number (TERM, SIGTERM, 15). SIZE is a number of bytes,
or one with a unit (64K, 1M, 2G). A limit may be "unlimited", and one that cannot
be enforced is an error.`,
		Example: `  corral -- npm test
  corral --timeout 10m --report run.json make check
  corral --leftovers fail -- ./integration-tests
  corral --memory 2G --pids 500 --core 0 -- make -j
  corral -c 'server & client --once'`,
		Annotations: map[string]string{exitStatuses: `123	the command succeeded, but left processes behind (--leftovers fail)
124	it ran out of time, or wrote nothing for too long (137 if it had to be killed)
125	bad arguments, or corral itself failed
126	the command was found but cannot be executed
127	the command was not found
137	the run was out of memory (--memory), and has been killed
128+n	signal n ended the command; it ends corral, too, if corral has got it
other	the exit status of the command
`},
		DisableFlagsInUseLine: true,
		Args:                  needCommand,
		ValidArgsFunction:     completeFiles,
		RunE: func(c *cobra.Command, args []string) error {
			args, err := o.prepare(c, args)
			if err != nil {
				return err
			}
			switch {
			case o.register.detached != "":
				err = o.stayWith(args)
			case o.register.detach:
				err = detachRun(c)
			default:
				err = o.run(c.ErrOrStderr(), args, nil)
			}
			var e *exitError
			if errors.As(err, &e) && e.err != nil && !o.shell.command {
				e.err = fmt.Errorf("%w%s", e.err, startHint(c, e, args[0]))
			}
			return err
		},
	}
	o.define(c)
	return c
}

// needCommand refuses arguments in which there is no command.
func needCommand(c *cobra.Command, args []string) error {
	commandLine, _ := c.Flags().GetBool(commandFlag)
	switch {
	case commandLine && len(args) == 0:
		return errors.New("-c needs a command line, in one word")
	case commandLine: // the shell says what it thinks of it
		return nil
	case len(args) == 0:
		return errors.New("no command given")
	case args[0] == "":
		return errors.New("the command is an empty word")
	}
	return nil
}

// prepare reads the rest of the flags, from the environment, and returns the words
// of the command.
func (o *runFlags) prepare(c *cobra.Command, args []string) ([]string, error) {
	flags, prefix := c.Flags(), runPrefix
	if o.init != nil {
		if err := o.init.check(); err != nil {
			return nil, err
		}
		if err := refuseKeepVariables(); err != nil {
			return nil, err
		}
		prefix = initPrefix
	}
	if flags.Changed(shellFlag) && !o.shell.command {
		return nil, errors.New("--shell needs -c")
	}
	err := o.checkRivals(flags, asFlag)
	if err != nil {
		return nil, err
	}
	if o.variables, err = takeEnvironment(flags, prefix); err != nil {
		return nil, err
	}
	if err := o.checkRivals(flags, func(f *pflag.Flag) string { return variable(prefix, f) }); err != nil {
		return nil, err
	}
	if err := o.register.check(o); err != nil {
		return nil, err
	}
	if o.shell.command {
		return o.shell.words(args)
	}
	return args, nil
}

// checkRivals refuses flags that contradict each other, or their variables: a variable
// does not count beside a flag. See rivals.
func (o *runFlags) checkRivals(flags *pflag.FlagSet, written func(f *pflag.Flag) string) error {
	refuse := func(format string, names ...string) error {
		var all []any
		for _, name := range names {
			all = append(all, written(flags.Lookup(name)))
		}
		return fmt.Errorf(format, all...)
	}
	switch {
	case o.quiet && o.verbose:
		return refuse("%s and %s contradict each other", "quiet", "verbose")
	case o.init != nil && o.init.waitAll && flags.Changed("leftovers"):
		return refuse("%s and %s contradict each other", "wait-all", "leftovers")
	case len(o.keep) > 0 && o.keepsAll():
		return refuse("%s contradicts %s keep and detach, which keep all", "keep", "leftovers")
	}
	return checkStop(flags, written)
}

// run runs the command in args to its end, and returns its exit status, or ends
// corral as the command has ended. A run in the background has a log.
func (o *runFlags) run(stderr io.Writer, args []string, back *background) error {
	events, err := openEvents(o.events)
	if err != nil {
		return err
	}
	if err := reserve(len(o.lifelines), writers(events, o.verbose)); err != nil {
		return err
	}
	j := &job{runFlags: o, stderr: stderr, tty: findTerminal(), restore: func() {}, events: events, back: back}
	if err := j.openReport(); err != nil {
		return err
	}
	// From here to the end of the process no signal may end corral before it has
	// cleaned up: none is let go again.
	listen, answer := runSignals, func(cmd *corral.Cmd, signals chan os.Signal) { relay(cmd, signals, j.tty) }
	if o.init != nil {
		listen, answer = initSignals, o.init.relay
	}
	signals := newInbox(listen())
	j.scopeless = j.enterScope(args, signals)
	if o.limit.needControlGroup() { // in the scope, if there is one now
		if err := stepAside(); err != nil {
			return err
		}
	}
	if j.cmd, err = startCommand(args, j.command); err != nil {
		if none := (*corral.ContainmentError)(nil); errors.As(err, &none) {
			declinedScope(none.Declined, j.scopeless)
		}
		return startError(args[0], err)
	}
	j.sayUnregistered()
	j.sayScopeless()
	back.started(j.cmd)
	if o.pty {
		if !j.stdinIsLifeline() {
			j.restore = j.keys.typeOn(j.cmd.PTY, func(err error) { say(stderr, "cannot read the input: %v", err) })
		}
		close(j.typing)
		defer j.restore()
	}
	go answer(j.cmd, signals.passed)
	err = j.cmd.Wait()
	return j.end(err, signals)
}
