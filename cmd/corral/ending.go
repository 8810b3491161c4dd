//go:build linux || darwin || freebsd || windows

package main

import (
	"errors"
	"fmt"
	"syscall"
	"time"

	"github.com/corral-run/corral"
	"github.com/corral-run/corral/internal/disposition"
	"github.com/corral-run/corral/internal/registry"
)

// end says what there is to say after Wait, and returns the exit status, or ends
// corral as the command has ended.
func (j *job) end(err error, signals *inbox) error {
	j.restore()
	r := j.cmd.Report()
	if j.register.redact {
		r = redactReport(r)
	}
	declinedScope(r.Declined, j.scopeless)
	j.tty.restore(r.Ending == corral.Exited && j.cmd.ProcessState != nil && j.cmd.ProcessState.Success())
	outputErr := j.finishOutput(r)
	if !j.quiet {
		sayWeaker(func(format string, args ...any) { say(j.stderr, format, args...) }, r)
	}
	if line := summary(r, time.Duration(j.timeout)); line != "" && (!j.quiet || len(r.Survivors()) > 0) {
		say(j.stderr, "%s%s", line, j.keepHint(j.cmd.Report()))
	}
	j.sayKeptUnregistered()
	status := j.status(r, err, outputErr)
	if j.report != nil {
		if err := writeReport(j.report, r); err != nil {
			say(j.stderr, "cannot write the report: %v", err)
			status = unlessFailed(status, statusOwn)
		}
	}
	j.events.finish(func(format string, args ...any) { say(j.stderr, format, args...) })
	j.back.ended(status, r)
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
	if r.Unknown != "" {
		say(j.stderr, "%s", unknownLine(r))
	}
	o := registry.Outcome{
		Ending: string(r.Ending), ExitCode: r.ExitCode, Signal: r.Signal, Forced: r.Forced,
		Survivors: len(r.Survivors()), Unknown: r.Unknown, Failed: j.failure(r, err, outputErr),
	}
	if j.init != nil && j.init.zeroOn[commandStatus(&o)] {
		o.ExitCode, o.Signal = 0, ""
	}
	status := runStatus(&o)
	if outputErr != nil {
		say(j.stderr, "cannot write the output: %v", outputErr)
		status = unlessFailed(status, statusOwn)
	}
	return status
}

// failure says what the error of Wait says beside the report. It returns the part that
// makes a failure of a run whose command has succeeded.
func (j *job) failure(r *corral.Report, err, outputErr error) registry.Failure {
	var (
		exited    *corral.ExitError
		leftovers *corral.LeftoverError
	)
	switch {
	case ranOut(r), r.Ending == corral.OutOfMemory, len(r.Survivors()) > 0, r.Unknown != "":
	case errors.As(err, &leftovers):
		return registry.FailedLeftovers
	case errors.Is(err, corral.ErrWaitDelay):
		say(j.stderr, "the output was cut, as it is held open%s", heldBy(r.Holders))
		if !j.keepsAll() && !hasKept(r) {
			return registry.FailedOther
		}
	case r.Ending == corral.LifelineLost:
	case err != nil && !errors.As(err, &exited):
		if outputErr == nil || !errors.Is(outputErr, err) { // else it is said later
			say(j.stderr, "%v", err)
		}
		return registry.FailedOther
	}
	return ""
}

// commandStatus is the exit status of a run's command, or what says that it has none.
func commandStatus(o *registry.Outcome) int {
	var number int
	switch n, _ := fmt.Sscanf(o.Signal, "signal %d", &number); {
	case n == 1: // it has no name
		return statusSignal + number
	case o.Signal != "":
		return statusSignal + int(signalNumber(o.Signal))
	case o.ExitCode < 0: // it could not be stopped
		return statusOwn
	}
	return o.ExitCode
}

// runStatus is what corral exits with for a run that has ended like this, also if it has
// only waited for it.
func runStatus(o *registry.Outcome) int {
	status := commandStatus(o)
	ranOut := o.Ending == string(corral.TimedOut) || o.Ending == string(corral.Idle)
	switch {
	case ranOut && o.Forced, o.Ending == string(corral.OutOfMemory):
		return statusSignal + int(syscall.SIGKILL)
	case ranOut:
		return statusTimeout
	case o.Survivors > 0, o.Unknown != "":
		return unlessFailed(status, statusOwn)
	case o.Failed == registry.FailedLeftovers:
		return unlessFailed(status, statusLeftovers)
	case o.Failed != "":
		return unlessFailed(status, statusOwn)
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
