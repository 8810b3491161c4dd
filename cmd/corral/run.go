//go:build linux || darwin || freebsd || windows

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/corral-run/corral"
	"github.com/corral-run/corral/internal/disposition"
	"github.com/corral-run/corral/internal/headtail"
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

// newRun returns the command that runs a command. It exists thrice, as the root,
// as `run`, which reaches a command that has the name of one of corral's, and as
// the base of `init`.
// defaultGrace is the library's: the wait of the one step of its stop plan.
var defaultGrace = corral.DefaultStopPlan()[0].Wait

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

// job is the command under way.
type job struct {
	*runFlags
	cmd     *corral.Cmd
	stderr  io.Writer
	report  io.WriteCloser
	tty     *terminal
	outputs []*output
	typing  chan struct{} // closed when the command may be heard
	keys    keyboard
	restore func()
}

func (j *job) openReport() error {
	switch j.runFlags.report {
	case "":
	case "-":
		j.report = nopCloser{j.stderr}
	default:
		// To write only: of a pipe it is to be known whether anybody reads.
		f, err := os.OpenFile(string(j.runFlags.report), os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o666)
		if err != nil {
			return &exit{statusOwn, fmt.Errorf("cannot write the report: %w", err)}
		}
		j.report = f
	}
	return nil
}

// fed reports whether the command's input comes from the library, which has to see
// its end.
func (j *job) fed() bool { return slices.Contains(j.lifelines, string(corral.LifelineStdin)) }

// command returns the command in args, to be started.
func (j *job) command(args []string) *corral.Cmd {
	cmd := corral.Command(args[0], args[1:]...)
	j.outputs, j.typing = nil, make(chan struct{})
	for _, name := range j.lifelines {
		cmd.Lifelines = append(cmd.Lifelines, corral.Lifeline(name))
	}
	if j.pty {
		cmd.PTY = newPTY()
		cmd.Stdout = heldWriter{j.output(os.Stdout), j.typing}
	} else {
		cmd.Stdout, cmd.Stderr = j.output(os.Stdout), j.output(os.Stderr)
	}
	if !j.pty || j.fed() {
		cmd.Stdin = os.Stdin
	}
	cmd.Timeout = time.Duration(j.timeout)
	cmd.StopPlan = corral.StopPlan{{Signal: j.signal.Signal, Wait: time.Duration(j.grace)}}
	cmd.Leftovers = j.leftovers
	cmd.Containment = j.containment
	cmd.Require = j.require
	cmd.AdoptOrphans = adoptOrphans
	if j.asInit != nil {
		j.asInit.prepare(cmd)
	}
	if j.verbose {
		log := j.stderr
		if j.pty && isTerminal(os.Stdin) {
			log = rawLines{j.stderr}
		}
		cmd.Logger = slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))
		for _, stream := range maybeClosed() {
			cmd.Logger.Debug("corral: the null device, or closed when corral was started, which Go's runtime does not let it know", "stream", stream)
		}
	}
	return cmd
}

// output is a file that corral itself writes what the command has written to.
type output struct {
	sink
	limited *headtail.Writer // nil if all is passed on
}

// output returns what the command is to write to: f, unless there is something to
// do about it.
func (j *job) output(f *os.File) io.Writer {
	if !j.pty && j.outputLimit == 0 {
		return f
	}
	o := &output{sink: sink{to: f}}
	j.outputs = append(j.outputs, o)
	if j.outputLimit == 0 {
		return &o.sink
	}
	o.limited = &headtail.Writer{To: &o.sink, Limit: int64(j.outputLimit), Gone: func() error {
		if o.err == nil && readerGone(f) { // as long as nothing is written nobody else would notice
			o.err = &fs.PathError{Op: "write", Path: f.Name(), Err: syscall.EPIPE}
		}
		return o.err
	}}
	return o.limited
}

// finishOutput writes what has been held back, and returns the first error there
// has been. Nothing is said to those who have gone when the command has heard of it,
// too.
func (j *job) finishOutput(r *corral.Report) error {
	var first error
	for _, o := range j.outputs {
		if o.limited != nil {
			if o.err == nil {
				o.limited.Flush()
			}
			r.OutputDropped += o.limited.Dropped()
		}
		if first == nil && !(errors.Is(o.err, syscall.EPIPE) && r.Signal == "SIGPIPE") {
			first = o.err
		}
	}
	return first
}

// end says what there is to say after Wait, and returns the exit status, or ends the
// process as the command has ended.
func (j *job) end(err error, signals *inbox) error {
	j.restore()
	r := j.cmd.Report()
	j.tty.restore(r.Ending == corral.Exited && j.cmd.ProcessState != nil && j.cmd.ProcessState.Success())
	outputErr := j.finishOutput(r)
	if !j.quiet {
		sayWeaker(func(format string, args ...any) { say(j.stderr, format, args...) }, r)
	}
	if line := summary(r, time.Duration(j.timeout)); line != "" && (!j.quiet || len(r.Survivors()) > 0) {
		say(j.stderr, "%s", line)
	}
	status := j.status(r, err, outputErr)
	if j.report != nil {
		if err := writeReport(j.report, r); err != nil {
			say(j.stderr, "cannot write the report: %v", err)
			status = own(status, statusOwn)
		}
	}
	j.endLike(status, r, signals)
	return &exit{status: status}
}

// own is the status if corral has something to complain about. That counts only if
// the command succeeded: a failed one has a status of its own, which says more.
func own(status, complaint int) int {
	if status == 0 {
		return complaint
	}
	return status
}

// status is the exit status, but for what concerns the report.
func (j *job) status(r *corral.Report, err, outputErr error) int {
	var (
		exited    *corral.ExitError
		leftovers *corral.LeftoverError
	)
	if r.Unknown != "" {
		say(j.stderr, "%s", unknown(r))
	}
	status := statusOwn // of a command that cannot be made to end, if there is no other
	if j.cmd.ProcessState != nil {
		status = exitStatus(j.cmd.ProcessState)
	}
	if j.asInit != nil && j.asInit.zeroOn[status] {
		status = 0
	}
	switch {
	case r.Ending == corral.TimedOut && r.Forced:
		status = statusSignal + int(syscall.SIGKILL)
	case r.Ending == corral.TimedOut:
		status = statusTimeout
	case len(r.Survivors()) > 0, r.Unknown != "":
		status = own(status, statusOwn)
	case errors.As(err, &leftovers):
		status = own(status, statusLeftovers)
	case errors.Is(err, corral.ErrWaitDelay):
		say(j.stderr, "the output was cut, as it is held open%s", by(r.Holders))
		if j.leftovers != corral.KeepLeftovers && j.leftovers != corral.DetachLeftovers {
			status = own(status, statusOwn)
		}
	case r.Ending == corral.LifelineLost:
	case err != nil && !errors.As(err, &exited):
		status = own(status, statusOwn)
		if outputErr == nil || !errors.Is(outputErr, err) { // else it is said below
			say(j.stderr, "%v", err)
		}
	}
	if outputErr != nil {
		say(j.stderr, "cannot write the output: %v", outputErr)
		status = own(status, statusOwn)
	}
	return status
}

// unknown is the line for a report that does not know whether anything is left.
func unknown(r *corral.Report) string {
	return (&corral.SurvivorError{Unknown: errors.New(r.Unknown)}).Error()
}

// endLike ends the process by the signal that has ended the command, if it was for
// corral as well: sent to it, or typed on its terminal. Whoever waits for corral,
// such as a shell with a script that Ctrl-C is to end, would have got to see the same
// of the command.
func (j *job) endLike(status int, r *corral.Report, signals *inbox) {
	if j.cmd.ProcessState == nil || r.Ending != corral.Exited && r.Ending != corral.Stopped {
		return
	}
	ws, ok := j.cmd.ProcessState.Sys().(syscall.WaitStatus)
	if !ok || !ws.Signaled() || status != statusSignal+int(ws.Signal()) {
		return
	}
	typed := j.keys.typed(ws.Signal())
	if typed {
		j.tty.share(ws.Signal())
	}
	if typed || signals.got(ws.Signal()) {
		disposition.EndLike(ws)
	}
}

// startCommand starts the command in args, made by build, the way execvp(3) and the
// shells do: what is neither a program nor says by a #! line what is to run it is a
// script of the shell's.
func startCommand(args []string, build func([]string) *corral.Cmd) (*corral.Cmd, error) {
	cmd := build(args)
	err := cmd.Start()
	if errors.Is(err, errNotExecutable) && scriptShell != "" && isText(cmd.Path) {
		cmd = build(append([]string{scriptShell, cmd.Path}, args[1:]...))
		err = cmd.Start()
	}
	return cmd, err
}

// isText tells a script from a program for another machine, as shells do it, by the
// beginning. One that cannot be read is left to the shell, which says so.
func isText(path string) bool {
	f, err := os.Open(path)
	if err != nil {
		return true
	}
	defer f.Close()
	b := make([]byte, 256)
	n, _ := io.ReadFull(f, b)
	return !bytes.Contains(b[:n], []byte{0})
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
		switch why := whyCannot(start.Path, err); {
		case why != nil:
			err = why
		case start.Path == scriptShell && name != scriptShell: // see startCommand
			err = fmt.Errorf("its interpreter %s: %w", scriptShell, err)
		}
	default:
		return &exit{statusOwn, err}
	}
	found := inPath(name)
	switch {
	case name == "." || name == "..":
		return &exit{statusCannot, fmt.Errorf("%s: is a directory", name)}
	case errors.Is(err, exec.ErrDot):
		return &exit{statusCannot, fmt.Errorf("%s: it is in the working directory, which is in PATH; to run it, give its path: %s", name, filepath.FromSlash("./"+name))}
	case errors.Is(err, exec.ErrNotFound) && found != "" && isDirectory(found):
		return &exit{statusCannot, fmt.Errorf("%s: %s is a directory", name, found)}
	case errors.Is(err, exec.ErrNotFound) && found != "":
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

// inPath returns what in PATH is called name, a file rather than a directory, and
// nothing if there is none: exec.LookPath says "not found" also if all of it lacks the
// permission, or is a directory.
func inPath(name string) (found string) {
	if filepath.Base(name) != name {
		return ""
	}
	for _, dir := range filepath.SplitList(os.Getenv("PATH")) {
		path := filepath.Join(dir, name)
		if info, err := os.Stat(path); err == nil && !info.IsDir() {
			return path
		} else if err == nil && found == "" {
			found = path
		}
	}
	return found
}

func isDirectory(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
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
	if r.Ending == corral.TimedOut {
		part := fmt.Sprintf("timed out after %v", timeout)
		if r.Forced {
			part += " and had to be killed"
		}
		parts = append(parts, part)
	}
	if r.KeeperLost {
		parts = append(parts, "somebody has killed the keeper")
	}
	if r.Ending == corral.LifelineLost {
		parts = append(parts, "lifeline lost: "+string(r.Lifeline))
	}
	kind := "leftover"
	if r.Ending != corral.Exited {
		kind = "more" // they are not left over, the command did not get to its end
	}
	// A part for each, so that everybody sees which is which.
	for _, f := range []struct {
		fate corral.Fate
		line string
		kind string
	}{
		{corral.Signalled, "stopped %s: %s", kind},
		{corral.Forced, "stopped %s by force: %s", kind},
		{corral.Ended, "waited for %s that may not be stopped: %s", ""},
		{corral.Kept, "left %s running: %s", ""},
		{corral.Survived, "could not stop %s: %s", ""},
	} {
		these := slices.DeleteFunc(slices.Clone(r.Leftovers), func(l corral.Leftover) bool { return l.Fate != f.fate })
		if len(these) > 0 {
			parts = append(parts, fmt.Sprintf(f.line, processes(len(these), f.kind), named(these)))
		}
	}
	return strings.Join(parts, "; ")
}

// sayWeaker says that the run has had a weaker containment than the machine should
// have for it. What one has to be privileged for, or the kernel does not have, is
// nothing out of the ordinary.
func sayWeaker(say func(format string, args ...any), r *corral.Report) {
	for _, d := range r.Declined {
		if !usual(d) {
			reason := strings.TrimPrefix(d.Reason, string(d.Containment)+": ")
			say("%s containment only, as %s does not work: %s", r.Containment, d.Containment, reason)
		}
	}
}

func usual(d corral.Declined) bool {
	if strings.HasPrefix(d.Reason, autoVariable+"=") {
		return true // it has been asked for
	}
	if d.Containment != corral.Cgroup && d.Containment != corral.PIDNS {
		return false
	}
	return slices.ContainsFunc([]error{errors.ErrUnsupported, syscall.EACCES, syscall.EPERM, syscall.EROFS, syscall.ENOSYS}, func(err error) bool {
		return strings.Contains(d.Reason, err.Error())
	})
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

// named names five leftovers at most, and counts the others.
func named(leftovers []corral.Leftover) string {
	const most = 5
	var all []string
	for _, l := range leftovers {
		pid := fmt.Sprintf("pid %d", l.PID)
		if l.Reason != "" {
			pid += ": " + l.Reason
		}
		all = append(all, fmt.Sprintf("%s (%s)", commandOf(l.Process), pid))
	}
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
