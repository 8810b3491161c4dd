//go:build linux || darwin || freebsd || windows

package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"slices"
	"syscall"
	"time"

	"github.com/corral-run/corral"
	"github.com/corral-run/corral/internal/disposition"
	"github.com/corral-run/corral/internal/headtail"
)

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
			return &exitError{statusOwn, fmt.Errorf("cannot write the report: %w", err)}
		}
		j.report = f
	}
	return nil
}

// stdinIsLifeline reports whether the command's input comes from the library, which has to see
// its end.
func (j *job) stdinIsLifeline() bool {
	return slices.Contains(j.lifelines, string(corral.LifelineStdin))
}

// command returns the command in args, to be started.
func (j *job) command(args []string) *corral.Cmd {
	cmd := corral.Command(args[0], args[1:]...)
	j.outputs, j.typing = nil, make(chan struct{})
	if j.pty {
		cmd.PTY = newPTY()
		cmd.Stdout = heldWriter{j.output(os.Stdout), j.typing}
	} else {
		cmd.Stdout, cmd.Stderr = j.output(os.Stdout), j.output(os.Stderr)
	}
	if !j.pty || j.stdinIsLifeline() {
		cmd.Stdin = os.Stdin
	}
	j.apply(cmd)
	if j.verbose {
		log := j.stderr
		if j.pty && isTerminal(os.Stdin) {
			log = rawLines{j.stderr}
		}
		cmd.Logger = slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))
		for _, stream := range maybeClosedStreams() {
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
			status = unlessFailed(status, statusOwn)
		}
	}
	j.endLike(status, r, signals)
	return &exitError{status: status}
}

// unlessFailed is the status if corral has something to complain about. That counts only if
// the command succeeded: a failed one has a status of its own, which says more.
func unlessFailed(status, complaint int) int {
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
		say(j.stderr, "%s", unknownLine(r))
	}
	status := statusOwn // of a command that cannot be made to end, if there is no other
	if j.cmd.ProcessState != nil {
		status = exitStatus(j.cmd.ProcessState)
	}
	if j.init != nil && j.init.zeroOn[status] {
		status = 0
	}
	switch {
	case r.Ending == corral.TimedOut && r.Forced:
		status = statusSignal + int(syscall.SIGKILL)
	case r.Ending == corral.TimedOut:
		status = statusTimeout
	case len(r.Survivors()) > 0, r.Unknown != "":
		status = unlessFailed(status, statusOwn)
	case errors.As(err, &leftovers):
		status = unlessFailed(status, statusLeftovers)
	case errors.Is(err, corral.ErrWaitDelay):
		say(j.stderr, "the output was cut, as it is held open%s", heldBy(r.Holders))
		if j.leftovers != corral.KeepLeftovers && j.leftovers != corral.DetachLeftovers {
			status = unlessFailed(status, statusOwn)
		}
	case r.Ending == corral.LifelineLost:
	case err != nil && !errors.As(err, &exited):
		status = unlessFailed(status, statusOwn)
		if outputErr == nil || !errors.Is(outputErr, err) { // else it is said below
			say(j.stderr, "%v", err)
		}
	}
	if outputErr != nil {
		say(j.stderr, "cannot write the output: %v", outputErr)
		status = unlessFailed(status, statusOwn)
	}
	return status
}

// unknownLine is the line for a report that does not know whether anything is left.
func unknownLine(r *corral.Report) string {
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
		j.tty.signalForeground(ws.Signal())
	}
	if typed || signals.got(ws.Signal()) {
		disposition.EndLike(ws)
	}
}

type nopCloser struct{ io.Writer }
