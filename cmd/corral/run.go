//go:build linux || darwin || freebsd || windows

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/corral-run/corral"
	"github.com/corral-run/corral/internal/headtail"
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
	lifelines   []string
	report      string
	quiet       bool
	verbose     bool
	asInit      *initFlags // for `corral init`
}

// newRun returns the command that runs a command. It exists thrice, as the root,
// as `run`, which reaches a command that has the name of one of corral's, and as
// the base of `init`.
func newRun(use string, asInit *initFlags) *cobra.Command {
	o := &runFlags{signal: signalValue{syscall.SIGTERM}, grace: duration(corral.DefaultGrace), asInit: asInit}
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
128+n	signal n ended the command
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
			return o.run(c.ErrOrStderr(), args)
		},
	}
	containments := []option[corral.Containment]{
		{"auto", corral.Auto},
		{"job", corral.Job},
		{"cgroup", corral.Cgroup},
		{"pidns", corral.PIDNS},
		{"keeper", corral.Keeper},
		{"group", corral.Group},
	}
	leftovers := &choice[corral.LeftoverPolicy]{to: &o.leftovers, current: "kill", options: []option[corral.LeftoverPolicy]{
		{"kill", corral.KillLeftovers},
		{"keep", corral.KeepLeftovers},
		{"fail", corral.FailOnLeftovers},
		{"wait", corral.WaitForLeftovers},
	}}
	containment := &choice[corral.Containment]{to: &o.containment, current: "auto", options: containments}
	require := &choice[corral.Containment]{to: &o.require, options: containments[1:]}

	flags := c.Flags()
	flags.SortFlags = false
	flags.SetInterspersed(false)
	flags.VarP(&o.timeout, "timeout", "t", "stop the run after this `DURATION`; 0: never")
	flags.VarP(&o.signal, "signal", "s", "stop with this `SIGNAL` first; KILL: at once")
	flags.VarP(&o.grace, "grace", "k", "kill what is left this `DURATION` after the signal")
	flags.Var(leftovers, "leftovers", "stop what the command leaves behind, keep it, stop it and fail, or wait for its end: `POLICY` is "+strings.Join(leftovers.names(), ", "))
	if asInit != nil {
		asInit.flags(flags)
	}
	flags.Var(containment, "containment", "hold the run with this `MECHANISM`: "+strings.Join(containment.names(), ", "))
	flags.Var(require, "require", "do not start with a weaker `MECHANISM` than this")
	flags.StringSliceVar(&o.lifelines, "lifeline", nil, "stop the run when this `LIFELINE` is lost: stdin, tty, parent, fd:N, pid:N; may be repeated")
	flags.BoolVar(&o.pty, "pty", false, "give the command a terminal of its own")
	flags.Var(&o.outputLimit, "output-limit", "pass on the first and the last half of `SIZE` bytes of each output; 0: all")
	flags.StringVar(&o.report, "report", "", "write a report to `FILE`, as JSON; -: to standard error")
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

// run runs the command in args to its end.
func (o *runFlags) run(stderr io.Writer, args []string) error {
	var report io.WriteCloser
	if o.report == "-" {
		report = nopCloser{stderr}
	} else if o.report != "" {
		f, err := os.Create(o.report)
		if err != nil {
			return &exit{statusOwn, fmt.Errorf("cannot write the report: %w", err)}
		}
		report = f
	}

	cmd := corral.Command(args[0], args[1:]...)
	var limited []*headtail.Writer
	output := func(f *os.File) io.Writer {
		if o.outputLimit == 0 {
			return f
		}
		w := &headtail.Writer{To: f, Limit: int64(o.outputLimit)}
		limited = append(limited, w)
		return w
	}
	cmd.Stdout = output(os.Stdout)
	for _, name := range o.lifelines {
		cmd.Lifelines = append(cmd.Lifelines, corral.Lifeline(name))
	}
	fed := slices.Contains(cmd.Lifelines, corral.LifelineStdin) // by the library, which has to see the end
	typing := make(chan struct{})
	if o.pty {
		cmd.PTY = newPTY()
		cmd.Stdout = heldWriter{cmd.Stdout, typing}
	} else {
		cmd.Stderr = output(os.Stderr)
	}
	if !o.pty || fed {
		cmd.Stdin = os.Stdin
	}
	cmd.Timeout = time.Duration(o.timeout)
	cmd.StopPlan = corral.StopPlan{{Signal: o.signal.Signal, Wait: time.Duration(o.grace)}}
	cmd.Leftovers = o.leftovers
	cmd.Containment = o.containment
	cmd.Require = o.require
	cmd.AdoptOrphans = adoptOrphans
	tty := findTerminal()
	listen, answer := caught, func(cmd *corral.Cmd, signals chan os.Signal) { relay(cmd, signals, tty) }
	if o.asInit != nil {
		o.asInit.prepare(cmd)
		listen, answer = passedOn, o.asInit.passOn
	}
	if o.verbose {
		log := stderr
		if o.pty && isTerminal(os.Stdin) {
			log = rawLines{stderr}
		}
		cmd.Logger = slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}

	// From here on a signal must not end corral before it has cleaned up, up
	// to the end of the process: none is let go again.
	signals := make(chan os.Signal, 64)
	signal.Notify(signals, listen()...)
	if err := cmd.Start(); err != nil {
		return startError(args[0], err)
	}
	restore := func() {}
	if o.pty {
		if !fed {
			restore = typeOn(cmd.PTY)
		}
		close(typing)
		defer restore()
	}
	go answer(cmd, signals)
	err := cmd.Wait()
	restore()
	tty.restore(cmd.Report().Ending == corral.Exited && cmd.ProcessState != nil && cmd.ProcessState.Success())

	var (
		exited    *corral.ExitError
		leftovers *corral.LeftoverError
		survivors *corral.SurvivorError
	)
	r := cmd.Report()
	var flushErr error
	for _, w := range limited {
		flushErr = errors.Join(flushErr, w.Flush())
		r.OutputDropped += w.Dropped()
	}
	if line := summary(r, time.Duration(o.timeout)); line != "" && (!o.quiet || errors.As(err, &survivors)) {
		say(stderr, "%s", line)
	}
	status := statusOwn // of a command that cannot be made to end, if there is no other
	if cmd.ProcessState != nil {
		status = exitStatus(cmd.ProcessState)
	}
	if o.asInit != nil && o.asInit.zeroOn[status] {
		status = 0
	}
	// What corral has to complain about counts only if the command succeeded:
	// a failed command has a status of its own, which says more.
	own := func(s int) {
		if status == 0 {
			status = s
		}
	}
	switch {
	case r.Ending == corral.TimedOut && r.Forced:
		status = statusSignal + int(syscall.SIGKILL)
	case r.Ending == corral.TimedOut:
		status = statusTimeout
	case errors.As(err, &survivors):
		own(statusOwn)
	case errors.As(err, &leftovers):
		own(statusLeftovers)
	case errors.Is(err, corral.ErrWaitDelay):
		say(stderr, "the output was cut, as it is held open%s", by(r.Holders))
		if o.leftovers != corral.KeepLeftovers {
			own(statusOwn)
		}
	case r.Ending == corral.LifelineLost:
	case err != nil && !errors.As(err, &exited):
		say(stderr, "%v", err)
		own(statusOwn)
	}
	if flushErr != nil {
		say(stderr, "cannot write the output: %v", flushErr)
		own(statusOwn)
	}
	if report != nil {
		if err := writeReport(report, r); err != nil {
			say(stderr, "cannot write the report: %v", err)
			own(statusOwn)
		}
	}
	return &exit{status: status}
}

// startError turns an error of Start into the status that env(1) and timeout(1)
// give, and a shell.
func startError(name string, err error) error {
	var lookup *exec.Error
	var start *fs.PathError
	switch {
	case errors.As(err, &lookup):
		err = lookup.Err
	case errors.As(err, &start) && start.Op == "fork/exec":
		err = start.Err
	default:
		return &exit{statusOwn, err}
	}
	switch {
	case errors.Is(err, exec.ErrNotFound) && inPath(name):
		return &exit{statusCannot, fmt.Errorf("%s: permission denied", name)}
	case errors.Is(err, exec.ErrNotFound):
		return &exit{statusNotFound, fmt.Errorf("%s: command not found", name)}
	case errors.Is(err, fs.ErrNotExist):
		return &exit{statusNotFound, fmt.Errorf("%s: %w", name, err)}
	case errors.Is(err, syscall.EAGAIN), errors.Is(err, syscall.ENOMEM), errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE):
		return &exit{statusOwn, fmt.Errorf("%s: %w", name, err)} // fork(2), not execve(2)
	}
	return &exit{statusCannot, fmt.Errorf("%s: %w", name, err)}
}

// inPath reports whether there is something called name in PATH: exec.LookPath
// says "not found" also if all of it lacks the permission, or is a directory.
func inPath(name string) bool {
	if filepath.Base(name) != name {
		return false
	}
	for _, dir := range filepath.SplitList(os.Getenv("PATH")) {
		if _, err := os.Stat(filepath.Join(dir, name)); err == nil {
			return true
		}
	}
	return false
}

// reaction is what corral does about a signal that it gets itself.
type reaction int

const (
	disregard  reaction = iota
	terminate           // run the stop plan
	interrupt           // pass it on; the second one is meant for corral, too
	hangUp              // run the stop plan if the terminal is gone, else pass it on
	pause               // stop corral when the command has stopped
	passOn              // to all members
	passOnOnce          // to all members, unless the terminal has done so, or is not theirs
)

// relay answers the signals that corral gets during a run.
//
// The first Ctrl-C is for the command, which may have its own idea of it (an
// editor, a shell, a debugger). Whoever asks a second time wants it to end, and
// whoever asks after that wants it to end now. That the terminal is gone is told
// by several, and is not asking again.
func relay(cmd *corral.Cmd, signals chan os.Signal, tty *terminal) {
	stop := sync.OnceFunc(func() { go cmd.Stop(context.Background()) })
	const atOnce = time.Second
	interrupted, asked := false, false
	var terminated time.Time
	insist := func() {
		if asked {
			cmd.Signal(os.Kill)
			return
		}
		asked = true
		stop()
	}
	suspend := suspender(cmd, signals)
	for sig := range signals {
		switch reactionTo(sig) {
		case terminate:
			if time.Since(terminated) > atOnce {
				terminated = time.Now()
				insist()
			}
		case interrupt:
			if interrupted {
				insist()
			} else if interrupted = true; !delivered(cmd.Process.Pid) {
				cmd.Signal(sig)
			}
		case passOnOnce:
			if cmd.PTY != nil {
				resize(cmd.PTY)
			} else if !delivered(cmd.Process.Pid) {
				cmd.Signal(sig)
			}
		case hangUp:
			switch {
			case !tty.hungUp():
				cmd.Signal(sig)
			case !slices.Contains(cmd.Lifelines, corral.LifelineTTY): // which sees to it
				stop()
			}
		case pause:
			suspend()
		case passOn:
			cmd.Signal(sig)
		}
	}
}

// summary is the line about how a run ended and what became of the processes
// that were not the command's own; empty if there is nothing to say.
func summary(r *corral.Report, timeout time.Duration) string {
	var parts []string
	kind := "leftover"
	if r.Ending == corral.TimedOut {
		part := fmt.Sprintf("timed out after %v", timeout)
		if r.Forced {
			part += " and had to be killed"
		}
		parts = append(parts, part)
	}
	if r.Ending == corral.LifelineLost {
		parts = append(parts, "lifeline lost: "+string(r.Lifeline))
	}
	if r.Ending != corral.Exited {
		kind = "more" // they are not left over, the command did not get to its end
	}
	if len(r.Leftovers) > 0 {
		parts = append(parts, fates(r.Leftovers, kind)+": "+named(r.Leftovers))
	}
	return strings.Join(parts, "; ")
}

// fates counts what became of the leftovers.
func fates(leftovers []corral.Leftover, kind string) string {
	count := make(map[corral.Fate]int)
	for _, l := range leftovers {
		count[l.Fate]++
	}
	var parts []string
	forced := count[corral.Forced]
	if stopped := count[corral.Signalled] + forced; stopped > 0 {
		part := "stopped " + processes(stopped, kind)
		switch forced {
		case 0:
		case stopped:
			part += " by force"
		default:
			part += fmt.Sprintf(" (%d by force)", forced)
		}
		parts = append(parts, part)
	}
	if n := count[corral.Kept]; n > 0 {
		parts = append(parts, "left "+processes(n, "")+" running")
	}
	if n := count[corral.Survived]; n > 0 {
		parts = append(parts, "could not stop "+processes(n, ""))
	}
	return strings.Join(parts, ", ")
}

func processes(n int, kind string) string {
	noun := "process"
	if n > 1 {
		noun = "processes"
	}
	if kind != "" {
		noun = kind + " " + noun
	}
	return fmt.Sprintf("%d %s", n, noun)
}

// named names five leftovers at most and counts the others. Those that could
// not be stopped come first: somebody has to look after them.
func named(leftovers []corral.Leftover) string {
	const most = 5
	var first, rest []string
	for _, l := range leftovers {
		if l.Fate == corral.Survived {
			first = append(first, fmt.Sprintf("%s (pid %d: %s)", commandOf(l.Process), l.PID, l.Reason))
		} else {
			rest = append(rest, fmt.Sprintf("%s (pid %d)", commandOf(l.Process), l.PID))
		}
	}
	all := append(first, rest...)
	if more := len(all) - most; more > 0 {
		return fmt.Sprintf("%s and %d more", strings.Join(all[:most], ", "), more)
	}
	return strings.Join(all, ", ")
}

func commandOf(p corral.Process) string {
	return shorten(printable(strings.Join(p.Command, " ")), 60)
}

// by names who holds the output, as far as that is known.
func by(holders []corral.Process) string {
	var all []corral.Leftover
	for _, p := range holders {
		all = append(all, corral.Leftover{Process: p})
	}
	if len(all) == 0 {
		return ""
	}
	return " by " + named(all)
}
