//go:build linux || darwin || freebsd || windows

package main

import (
	"errors"
	"syscall"
	"time"

	"github.com/corral-run/corral"
	"github.com/corral-run/corral/internal/disposition"
)

// end says what there is to say after Wait, and returns the exit status, or ends
// corral as the command has ended.
func (j *job) end(err error, signals *inbox) error {
	j.restore()
	r := j.cmd.Report()
	j.tty.restore(r.Ending == corral.Exited && j.cmd.ProcessState != nil && j.cmd.ProcessState.Success())
	outputErr := j.finishOutput(r)
	if !j.quiet {
		sayWeaker(func(format string, args ...any) { say(j.stderr, format, args...) }, r)
	}
	if line := summary(r, time.Duration(j.timeout)); line != "" && (!j.quiet || len(r.Survivors()) > 0) {
		say(j.stderr, "%s%s", line, j.keepHint(r))
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

// unlessFailed returns complaint if the command succeeded. A failed one has a
// status of its own, which says more.
func unlessFailed(status, complaint int) int {
	if status == 0 {
		return complaint
	}
	return status
}

// status says what went wrong, and returns the exit status; the report is not its
// affair.
func (j *job) status(r *corral.Report, err, outputErr error) int {
	var (
		exited    *corral.ExitError
		leftovers *corral.LeftoverError
	)
	if r.Unknown != "" {
		say(j.stderr, "%s", unknownLine(r))
	}
	status := statusOwn // of a command that could not be stopped
	if j.cmd.ProcessState != nil {
		status = exitStatus(j.cmd.ProcessState)
	}
	if j.init != nil && j.init.zeroOn[status] {
		status = 0
	}
	switch {
	case ranOut(r) && r.Forced:
		status = statusSignal + int(syscall.SIGKILL)
	case ranOut(r):
		status = statusTimeout
	case len(r.Survivors()) > 0, r.Unknown != "":
		status = unlessFailed(status, statusOwn)
	case errors.As(err, &leftovers):
		status = unlessFailed(status, statusLeftovers)
	case errors.Is(err, corral.ErrWaitDelay):
		say(j.stderr, "the output was cut, as it is held open%s", heldBy(r.Holders))
		if !j.keepsAll() && !hasKept(r) {
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

// ranOut reports whether the run took too long, in all or without output.
func ranOut(r *corral.Report) bool { return r.Ending == corral.TimedOut || r.Ending == corral.Idle }

// unknownLine is the line about a report that does not know whether anything is
// left.
func unknownLine(r *corral.Report) string {
	return (&corral.SurvivorError{Unknown: errors.New(r.Unknown)}).Error()
}

// endLike ends corral by the signal that has ended the command, if corral has got
// it, too: sent to it, or typed on its terminal. Whoever waits for corral then sees
// what it would have seen of the command, as does a shell whose script Ctrl-C is to
// end.
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
