//go:build linux || darwin || freebsd || windows

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/corral-run/corral"
	"github.com/corral-run/corral/internal/disposition"
	"github.com/corral-run/corral/internal/proctree"
)

// timeoutName is the name of the command, with which all that it says begins.
// Called by it, corral is this command alone.
const timeoutName = "timeout"

// calledTimeout reports whether the program has been started by the name timeout.
func calledTimeout(program string) bool {
	return strings.TrimSuffix(filepath.Base(program), ".exe") == timeoutName
}

// timeoutFlags are the options of `corral timeout`: those of GNU timeout, and what a
// user of that may miss otherwise, as it stops nobody who has left the process group.
type timeoutFlags struct {
	keepFlags
	signal      timeoutSignal
	killAfter   interval
	foreground  bool
	preserve    bool
	verbose     bool
	events      fileName
	containment corral.Containment
	variables   []string // of the flags, which the command does not get

	log *eventLog
}

// newTimeout returns the drop-in for GNU timeout, held by the given containment.
func newTimeout(containment corral.Containment) *cobra.Command {
	o := &timeoutFlags{signal: timeoutSignal{syscall.SIGTERM}, containment: containment}
	c := &cobra.Command{
		Use:   timeoutName + " [options] DURATION COMMAND [ARG...]",
		Short: "Run a command with a time limit, as GNU timeout does",
		Long: `Run COMMAND, and send SIGNAL to it and to all that it has started if it is
still there after DURATION. When COMMAND has ended, what it has left running is
stopped: SIGNAL, and KILL after the DURATION of -k, or 5 seconds.

Options, durations, messages and exit statuses are GNU timeout's, but for --keep and
--allow-detach, which it has not. Called by the name timeout, corral is nothing but
this command. CORRAL_TIMEOUT_KEEP and CORRAL_TIMEOUT_ALLOW_DETACH in the environment
are those two, and COMMAND does not see them.

DURATION is a number of seconds, or one with a suffix: s, m, h or d; 0 is no
limit. SIGNAL is a name or a number (TERM, SIGTERM, 15).`,
		Example: `  corral timeout 10m make check
  corral timeout -k 5 30 curl https://example.org
  ln -s /usr/bin/corral ~/bin/timeout`,
		Annotations: map[string]string{exitStatuses: `124	time ran out (not with -p)
125	bad arguments, or corral itself failed
126	the command was found but cannot be executed
127	the command was not found
137	time ran out, and the command had to be killed
other	the exit status of the command; a signal that ended it ends timeout, too
`},
		DisableFlagsInUseLine: true,
		Args:                  needDurationAndCommand,
		ValidArgsFunction:     completeFiles,
		RunE: func(c *cobra.Command, args []string) error {
			var limit interval
			if err := limit.Set(args[0]); err != nil {
				return err
			}
			var err error
			if o.variables, err = takeEnvironment(c.Flags(), timeoutPrefix); err != nil {
				return err
			}
			return o.run(c.ErrOrStderr(), time.Duration(limit), args[1:])
		},
	}
	c.SetFlagErrorFunc(timeoutFlagError)
	o.define(c)
	defineVersion(c, func() string { return timeoutName + " (corral) " + version() + "\n" })
	return c
}

// define adds the options to c, in the order in which help and man page list them.
func (o *timeoutFlags) define(c *cobra.Command) {
	flags := c.Flags()
	flags.SortFlags = false
	flags.SetInterspersed(false)
	flags.SetNormalizeFunc(abbreviated)
	flags.VarP(&o.signal, "signal", "s", "send this SIGNAL when time runs out")
	flags.VarP(&o.killAfter, "kill-after", "k", "send KILL this DURATION after the first signal")
	flags.BoolVarP(&o.foreground, "foreground", "f", false, "send signals to the command only")
	flags.BoolVarP(&o.preserve, "preserve-status", "p", false, "exit with the command's status also when time runs out")
	flags.BoolVarP(&o.verbose, "verbose", "v", false, "say which signals are sent and what was stopped, on standard error")
	o.keepFlags.define(c)
	flags.Var(&o.events, "events", "append what happens to FILE, as lines of JSON; fd:N: to descriptor N")
	flags.Bool("help", false, "help for timeout") // without -h, which GNU timeout does not have
	complete(c, "signal", signalNames)
	complete(c, "kill-after", nil)
}

// needDurationAndCommand refuses arguments that lack either.
func needDurationAndCommand(_ *cobra.Command, args []string) error {
	switch len(args) {
	case 0:
		return errors.New("no duration given")
	case 1:
		return errors.New("no command given")
	}
	return nil
}

// timeoutFlagError says no more of a value than GNU timeout does: the value's own
// error, which names it.
func timeoutFlagError(c *cobra.Command, err error) error {
	var invalid *pflag.InvalidValueError
	if errors.As(err, &invalid) && errors.Unwrap(err) != nil && invalid.GetFlag().Value.Type() != "bool" {
		return errors.Unwrap(err)
	}
	return flagError(c, err)
}

// abbreviated completes the names of options as getopt_long(3) does: any beginning
// will do that no other option has.
func abbreviated(_ *pflag.FlagSet, name string) pflag.NormalizedName {
	full := ""
	for _, long := range []string{"events", "foreground", "help", "kill-after", "preserve-status", "signal", "verbose", "version"} {
		switch {
		case !strings.HasPrefix(long, name):
		case full != "":
			return pflag.NormalizedName(name)
		default:
			full = long
		}
	}
	if full == "" {
		full = name
	}
	return pflag.NormalizedName(full)
}

// run runs the command in args to its end, and returns its exit status, or ends
// corral as the command has ended.
func (o *timeoutFlags) run(stderr io.Writer, limit time.Duration, args []string) error {
	var err error
	if o.log, err = openEvents(o.events); err != nil {
		return err
	}
	if err := reserve(0, writers(o.log, false)); err != nil {
		return err
	}
	// As in `corral run`, no signal is let go again.
	signals := make(chan os.Signal, 32)
	signal.Notify(signals, timeoutSignals(o.signal.Signal)...)
	cmd, err := startCommand(args, o.command)
	if err != nil {
		return timeoutStartError(args[0], err)
	}
	r := &timeoutRun{timeoutFlags: o, cmd: cmd, name: args[0], stderr: stderr, next: o.signal.Signal}
	if limit > 0 {
		r.alarm = time.After(limit)
	}
	waited := make(chan error, 1)
	go func() { waited <- cmd.Wait() }()
	for {
		select {
		case err := <-waited:
			return r.end(err)
		case <-r.alarm:
			r.expire()
		case sig := <-signals:
			switch sig := sig.(syscall.Signal); {
			case sig == syscall.SIGPIPE: // nobody reads what is said
			case sig == syscall.SIGALRM:
				r.expire()
			default:
				r.deliver(sig, (sig == syscall.SIGINT || sig == syscall.SIGQUIT) && delivered(cmd.Process.Pid))
			}
		}
	}
}

func (o *timeoutFlags) command(args []string) *corral.Cmd {
	if _, ok := os.LookupEnv("PATH"); !ok && defaultPath != "" {
		os.Setenv("PATH", defaultPath)
		defer os.Unsetenv("PATH")
	}
	cmd := o.log.newCommand(nil, args)
	switch {
	case args[0] == "":
		cmd.Err = &exec.Error{Name: args[0], Err: exec.ErrNotFound} // os/exec says "no command"
	case errors.Is(cmd.Err, exec.ErrDot):
		cmd.Err = nil // whoever has the working directory in PATH wants it there
	}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	// The plan is for what the command leaves behind, and for the death of corral.
	// What was told to stop before the command ended is not told again, and has as
	// much time: see send.
	grace := defaultGrace
	if o.killAfter > 0 {
		grace = time.Duration(o.killAfter)
	}
	cmd.StopPlan = stopPlan(o.signal.Signal, grace)
	cmd.WaitDelay = grace
	cmd.Containment = o.containment
	o.keepFlags.apply(cmd)
	cmd.Env = withoutVariables(o.variables)
	cmd.AdoptOrphans = adoptOrphans
	(&registerFlags{}).apply(cmd, args[0]) // that it cannot be is nothing that GNU timeout would say
	return cmd
}

// timeoutStartError is startError in the words of GNU timeout.
func timeoutStartError(name string, err error) error {
	err = startError(name, err)
	var e *exitError
	if errors.As(err, &e) && e.status != statusOwn {
		e.err = fmt.Errorf("failed to run command '%s': %s", name, strings.TrimPrefix(e.err.Error(), name+": "))
	}
	return err
}

// timeoutRun is the command under way.
type timeoutRun struct {
	*timeoutFlags
	cmd    *corral.Cmd
	name   string // what the command was called
	stderr io.Writer

	alarm    <-chan time.Time
	next     syscall.Signal // what the alarm sends
	killing  bool           // the alarm has been set anew, to kill
	stopping bool           // the run has been told to stop
	timedOut bool
}

func (r *timeoutRun) say(format string, args ...any) {
	sayAs(timeoutName, r.stderr, format, args...)
}

// expire does what is due when time has run out, unless the command has ended: then
// what it has left is being stopped already.
func (r *timeoutRun) expire() {
	// Cmd.Members would tell too, but the members decide how long that takes.
	leader, err := proctree.Brief(r.cmd.Process.Pid)
	if ended := errors.Is(err, proctree.ErrGone) || err == nil && !leader.Alive(); !ended {
		r.timedOut = true
		r.deliver(r.next, false)
	}
}

// deliver sends a signal, unless the terminal has done so. The first one, whatever
// its reason, sets the alarm to kill.
func (r *timeoutRun) deliver(sig syscall.Signal, done bool) {
	if r.killAfter > 0 && !r.killing {
		r.killing, r.next, r.alarm = true, syscall.SIGKILL, time.After(time.Duration(r.killAfter))
	}
	if done {
		return
	}
	if r.verbose {
		r.say("sending signal %s to command '%s'", timeoutSignal{sig}.name(), r.name)
	}
	r.send(sig)
}

func (r *timeoutRun) send(sig syscall.Signal) {
	switch {
	case r.foreground:
		r.cmd.Process.Signal(sig)
		// Unlike GNU timeout, as POSIX has it.
		if p, err := proctree.Lookup(r.cmd.Process.Pid); err == nil && p.State == proctree.Stopped && resume != nil {
			r.cmd.Process.Signal(resume)
		}
	case sig == syscall.SIGKILL:
		r.cmd.Signal(os.Kill)
	case sig == r.signal.Signal && sig != 0 && !r.stopping:
		// It lasts until nothing is left. What outlives the command is killed after
		// WaitDelay.
		r.stopping = true
		go r.cmd.StopWith(context.Background(), corral.StopPlan{{Signal: sig, Wait: forever}})
	default:
		if sig != 0 {
			r.cmd.Signal(sig)
		}
		if resume != nil {
			r.cmd.Signal(resume)
		}
	}
}

// end says what there is to say after Wait, and returns the exit status, or ends
// corral as the command has ended.
func (r *timeoutRun) end(err error) error {
	var exited *corral.ExitError
	rep := r.cmd.Report()
	if errors.As(err, &exited) && rep.Unknown != "" { // else it is said below
		r.say("%s", unknownLine(rep))
	}
	sayWeaker(r.say, rep)
	line := summary(rep, 0)
	switch {
	case len(rep.Survivors()) > 0, r.verbose && line != "":
		r.say("%s", line)
	case err != nil && !errors.As(err, &exited):
		r.say("%v", err)
	}
	r.log.finish(r.say)
	if r.cmd.ProcessState == nil {
		return &exitError{status: statusOwn} // it could not be stopped
	}
	status := exitStatus(r.cmd.ProcessState)
	ws, _ := r.cmd.ProcessState.Sys().(syscall.WaitStatus)
	if ws.CoreDump() {
		r.say("the monitored command dumped core")
	}
	killed := ws.Signaled() && ws.Signal() == syscall.SIGKILL
	switch {
	case r.timedOut && !r.preserve && !killed:
		status = statusTimeout
	case ws.Signaled() && (!r.timedOut || killed && !r.foreground):
		// GNU timeout is killed with its process group, but for -f.
		disposition.EndLike(ws)
	case status == 0 && err != nil:
		status = statusOwn
	}
	return &exitError{status: status}
}
