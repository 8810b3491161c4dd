package corral

import (
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"

	"github.com/corral-run/corral/internal/errjoin"
	"github.com/corral-run/corral/internal/hold"
	"github.com/corral-run/corral/internal/stop"
)

// ErrKeeperLost is returned by Wait when somebody has killed the run's keeper: if
// os/exec would return nil, or together with other errors. Report.KeeperLost always
// says so.
//
// The leader has been killed, and so have the other members that Corral had seen:
// all of them, if a stop was under way or Cmd.Members had been called. Those that
// it had not seen may be left. The owner cannot see them any more, unless it has
// asked for Cmd.AdoptOrphans.
var ErrKeeperLost = hold.ErrKeeperLost

// LeftoverError is returned by Wait under FailOnLeftovers when the command ended by
// itself and left something behind. That has been stopped.
type LeftoverError struct{ Leftovers []Leftover }

func (e *LeftoverError) Error() string {
	return "corral: the command left behind " + processes(e.Leftovers)
}

// SurvivorError is returned when something is left, or may be, after all that could
// be done: by Stop, and by Wait if os/exec would return nil. [Report.Survivors] and
// [Report.Unknown] always have it.
type SurvivorError struct {
	// Survivors are members that are still alive: processes of other users, or
	// processes in uninterruptible sleep. Each Reason says why.
	Survivors []Leftover

	// Unknown, if not nil, says why it is not known whether others are left: the
	// members could not be listed, and the system has not said that there are none.
	// What can be done without the list has been done.
	Unknown error
}

func (e *SurvivorError) Error() string {
	var text []string
	if len(e.Survivors) > 0 {
		text = append(text, "corral: could not stop "+processes(e.Survivors))
	}
	if e.Unknown != nil {
		text = append(text, "corral: cannot tell whether anything is left: "+e.Unknown.Error())
	}
	return strings.Join(text, "; ")
}

func (e *SurvivorError) Unwrap() error { return e.Unknown }

// ContainmentError is returned by Start, before anything has been started, when no
// available containment satisfies Containment and Require. It wraps
// errors.ErrUnsupported.
type ContainmentError struct {
	Wanted   Containment
	Required Containment
	Declined []Declined // the others, and why each is not available
}

func (e *ContainmentError) Error() string {
	b := new(strings.Builder)
	var asked []string
	if e.Wanted != Auto {
		asked = append(asked, fmt.Sprintf("wanted %s or weaker", e.Wanted))
	}
	if e.Required != Auto {
		asked = append(asked, fmt.Sprintf("required %s or stronger", e.Required))
	}
	b.WriteString("corral: no suitable containment")
	if len(asked) > 0 {
		fmt.Fprintf(b, " (%s)", strings.Join(asked, ", "))
	}
	if len(e.Declined) == 0 {
		b.WriteString(": " + runtime.GOOS + " has ")
		for i, m := range ladder {
			if i > 0 {
				b.WriteString(", ")
			}
			b.WriteString(string(m.name))
			if m.name == PIDNS {
				b.WriteString(" (on request)")
			}
		}
		if len(ladder) == 0 {
			b.WriteString("none")
		}
	}
	if len(e.Declined) > 1 && !slices.ContainsFunc(e.Declined, func(d Declined) bool { return d.Reason != e.Declined[0].Reason }) {
		fmt.Fprintf(b, ": %s", e.Declined[0].Reason)
		return b.String()
	}
	sep := ": "
	for i := 0; i < len(e.Declined); i++ {
		d := e.Declined[i]
		b.WriteString(sep + string(d.Containment))
		for i+1 < len(e.Declined) && e.Declined[i+1].Reason == d.Reason { // they share it
			i++
			b.WriteString(", " + string(e.Declined[i].Containment))
		}
		b.WriteString(": " + strings.TrimPrefix(d.Reason, string(d.Containment)+": "))
		sep = "; "
	}
	return b.String()
}

func (e *ContainmentError) Unwrap() error { return errors.ErrUnsupported }

// waitError is the error of Wait, by the rule in Wait's documentation.
func (r *run) waitError(exitErr, ioErr error, rep *Report) error {
	var exit *ExitError
	var status error // what os/exec has of the leader
	switch {
	case errors.As(exitErr, &exit):
		status = exit
	case r.state == nil:
		status = exitErr
	}
	if r.cmd.AdoptOrphans && errors.Is(exitErr, ErrKeeperLost) {
		exitErr = status // what the keeper had came to the owner
	}
	var left []error
	if r.stop != nil {
		left = append(left, stopError(r.stop))
	}
	if r.unknown != nil && r.held == nil { // the Scope holds also what cannot be seen
		left = append(left, survivorError(nil, r.unknown))
	}
	if r.stuck || r.cmd.joinsErrors() || r.memoryError(rep) != nil {
		return r.joinedError(exitErr, ioErr, left, rep)
	}
	std := []error{status, r.ctxErr}
	if ioErr != ErrWaitDelay || r.cmd.WaitDelay > 0 { // else os/exec would still wait
		std = append(std, ioErr)
	}
	return firstOf(append(std, errjoin.Join(append(left, exitErr)...), ioErr))
}

// joinsErrors reports whether a field is set that has an error of its own.
func (c *Cmd) joinsErrors() bool {
	return c.Timeout > 0 || c.IdleTimeout > 0 || len(c.Lifelines) > 0 || c.Leftovers == FailOnLeftovers
}

// joinedError is the error of Wait with all there is to say. The copying's is left
// out if there is any other: if the command failed or was stopped, so may the
// copying have been.
func (r *run) joinedError(exitErr, ioErr error, left []error, rep *Report) error {
	errs := []error{r.endErr, r.memoryError(rep), exitErr}
	if exitErr == nil && !errors.Is(r.endErr, r.ctxErr) {
		errs = append(errs, r.ctxErr)
	}
	errs = append(errs, left...)
	if left := unwanted(rep.Leftovers); r.cmd.Leftovers == FailOnLeftovers && rep.Ending == Exited && len(left) > 0 {
		errs = append(errs, &LeftoverError{Leftovers: left})
	}
	return firstOf([]error{errjoin.Join(errs...), ioErr})
}

// stopError is what callers of Stop and Wait get once the stop is done.
func stopError(s *stop.Stopper) error {
	return survivorError(survivors(leftoversOf(s.Leftovers)), s.LookErr)
}

// survivorError is nil if nothing is left.
func survivorError(left []Leftover, unknown error) error {
	if len(left) == 0 && unknown == nil {
		return nil
	}
	return &SurvivorError{Survivors: left, Unknown: unknown}
}

// processes names leftovers in an error. It names all of them, because a program
// that logs the error has nothing else.
func processes(l []Leftover) string {
	var names []string
	for _, p := range l {
		name := p.Process.String()
		if p.Reason != "" {
			name += ": " + p.Reason
		}
		names = append(names, name)
	}
	noun := "processes"
	if len(l) == 1 {
		noun = "process"
	}
	return fmt.Sprintf("%d %s: %s", len(l), noun, strings.Join(names, "; "))
}
