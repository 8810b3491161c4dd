package corral

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/corral-run/corral/internal/proctree"
	"github.com/corral-run/corral/internal/stop"
)

// Ending says why a run ended.
type Ending string

const (
	Exited    Ending = "exited"    // the leader ended by itself
	TimedOut  Ending = "timed_out" // Cmd.Timeout passed
	Cancelled Ending = "cancelled" // the context was done
	Stopped   Ending = "stopped"   // Cmd.Stop or Cmd.StopWith was called

	Released Ending = "released" // it has not: it was let go by Process.Release (see Cmd.Process), and the ExitCode is -1

	LifelineLost Ending = "lifeline_lost" // one of Cmd.Lifelines was
)

// Fate says what became of a leftover.
type Fate string

const (
	Signalled Fate = stop.Signalled // it ended during a step of the stop plan
	Forced    Fate = stop.Forced    // the containment's kill was needed
	Kept      Fate = "kept"         // left alone, because of KeepLeftovers or DetachLeftovers, or the run was let go
	Survived  Fate = stop.Survived  // it could not be killed; Leftover.Reason says why
	Ended     Fate = stop.Ended     // by itself, when it was due to be killed and may not be
)

// Process names a process: a PID alone may be taken over by a later process,
// PID and start together may not.
type Process struct {
	PID int `json:"pid"`
	// Start is the start time in the kernel's own unit (clock ticks since boot
	// on Linux, microseconds since 1970 on macOS and the BSDs, 100 ns since
	// 1601 on Windows). Compare it; do not compute with it.
	Start uint64 `json:"start"`
	// Command is the command line as far as the kernel tells it: the arguments,
	// or the short name in brackets where they cannot be read.
	Command []string `json:"command"`
}

func (p Process) String() string {
	return fmt.Sprintf("%d (%s)", p.PID, strings.Join(p.Command, " "))
}

// describe turns rows that may lack details into what callers see, ordered by PID.
func describe(rows []proctree.Process) []Process {
	var members []Process
	for _, row := range stop.WithDetails(rows) {
		members = append(members, Process{PID: row.PID, Start: row.Start, Command: row.Command()})
	}
	slices.SortFunc(members, func(a, b Process) int { return a.PID - b.PID })
	return members
}

// Leftover is a member, other than the leader, that did not end by itself: it
// was alive when the leader had ended, or when the run was stopped.
type Leftover struct {
	Process
	Fate Fate `json:"fate"`
	// Signal is the signal of the stop plan's step in which it ended, such as
	// "SIGTERM"; empty for the other fates.
	Signal string `json:"signal,omitempty"`
	// Reason says why it survived.
	Reason string `json:"reason,omitempty"`
}

// Declined is a containment that the run did not get, and why.
type Declined struct {
	Containment Containment `json:"containment"`
	Reason      string      `json:"reason"`
}

// Report says how a run ended, what it left, and what was done about it.
//
// Its JSON form has the field names given here; they stay as they are. Times
// are RFC 3339, durations are seconds.
type Report struct {
	Command []string `json:"command"`
	Leader  Process  `json:"leader"`
	Ending  Ending   `json:"ending"`
	// Cause says in words what the Ending was due to: the context's cause, the time that
	// passed, what became of the lifeline. It is empty for Exited and Stopped.
	Cause string `json:"cause,omitempty"`
	// ExitCode is the leader's exit status, or -1 if a signal ended it.
	ExitCode int `json:"exit_code"`
	// Signal is the signal that ended the leader, such as "SIGTERM".
	Signal string `json:"signal,omitempty"`
	// Lifeline is the one that was lost, if the Ending is LifelineLost.
	Lifeline Lifeline `json:"lifeline,omitempty"`
	// Forced says that the stop plan was not enough and the containment's kill
	// was used, on the leader or on any other member.
	Forced bool `json:"forced"`
	// SignalError says why a step of the stop plan could reach no member, so that
	// the run was not asked to end: on Windows, if no member has a console; on
	// others, if none may be signalled.
	SignalError string `json:"signal_error,omitempty"`
	// Containment is what held the run; Declined lists the stronger ones that
	// were not to be had here.
	Containment Containment `json:"containment"`
	Declined    []Declined  `json:"declined"`
	// BestEffort says how a process may have got away unseen, where the system has
	// nothing that holds all: under a keeper on macOS; with Cmd.AdoptOrphans, where it
	// refuses that. What a containment does everywhere, as the package documentation has
	// it, is not said here.
	BestEffort string `json:"best_effort,omitempty"`
	// Leftovers are the members that were alive when the leader had ended, or when the
	// run was stopped or let go; the leader itself is here if it could not be stopped, or was let go.
	Leftovers []Leftover `json:"leftovers"`
	// Unknown says why it is not known whether anything is left beside the Leftovers:
	// see SurvivorError.
	Unknown string `json:"unknown,omitempty"`
	// Holders are the processes that held a pipe or the terminal open when
	// Cmd.WaitDelay had passed: kept ones, or such as are none of the run. It is
	// what the caller may see of them, and on other systems than Linux nothing.
	Holders []Process `json:"holders,omitempty"`
	// OutputDropped is how many bytes Cmd.OutputLimit has left out.
	OutputDropped int64 `json:"output_dropped_bytes,omitempty"`
	// KeeperLost says that somebody has killed the run's keeper: see
	// ErrKeeperLost.
	KeeperLost bool `json:"keeper_lost,omitempty"`
	// Unguarded says why, for a part of the run, there was no guard: somebody had killed it, and it
	// could not be replaced at once. Had the owner been killed then, the run would have gone on.
	Unguarded string    `json:"unguarded,omitempty"`
	Started   time.Time `json:"started"`
	// Elapsed is the time from start until nothing was left (or was given up).
	Elapsed time.Duration `json:"-"` // elapsed_seconds
	// UserTime and SystemTime are the CPU time of the leader and of the
	// descendants it waited for; PeakMemory is the largest resident size in
	// bytes of any one of them, 0 where the system does not tell. On Windows they
	// are of all members, and PeakMemory is of the memory committed.
	UserTime   time.Duration `json:"-"` // user_seconds
	SystemTime time.Duration `json:"-"` // system_seconds
	PeakMemory int64         `json:"peak_memory_bytes"`
}

// seconds is a duration as it is in JSON.
type seconds time.Duration

func (d seconds) MarshalJSON() ([]byte, error) { return json.Marshal(time.Duration(d).Seconds()) }

func (d *seconds) UnmarshalJSON(b []byte) error {
	var s float64
	if err := json.Unmarshal(b, &s); err != nil {
		return err
	}
	*d = seconds(s * float64(time.Second))
	return nil
}

// plainReport has Report's fields, and not its methods. What follows it in a struct takes
// the place of its fields of the same JSON name.
type plainReport Report

type reportTimes struct {
	Elapsed    seconds `json:"elapsed_seconds"`
	UserTime   seconds `json:"user_seconds"`
	SystemTime seconds `json:"system_seconds"`
}

// MarshalJSON writes durations as seconds, with up to nine decimals. A struct that embeds
// a Report has this method, too, and its other fields are not written: give it a field.
func (r Report) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false) // that is for the caller to say
	err := enc.Encode(struct {
		plainReport
		reportTimes
		PeakMemory int64 `json:"peak_memory_bytes"` // it comes last
	}{plainReport(r), reportTimes{seconds(r.Elapsed), seconds(r.UserTime), seconds(r.SystemTime)}, r.PeakMemory})
	return b.Bytes(), err
}

// UnmarshalJSON reads what MarshalJSON writes.
func (r *Report) UnmarshalJSON(b []byte) error {
	var t reportTimes
	if err := json.Unmarshal(b, (*plainReport)(r)); err != nil {
		return err
	}
	if err := json.Unmarshal(b, &t); err != nil {
		return err
	}
	r.Elapsed, r.UserTime, r.SystemTime = time.Duration(t.Elapsed), time.Duration(t.UserTime), time.Duration(t.SystemTime)
	return nil
}

// Survivors returns the leftovers that could not be killed.
func (r *Report) Survivors() []Leftover { return survivors(r.Leftovers) }

// leftoversOf are what a stop has seen, as callers see it.
func leftoversOf(records []stop.Leftover) []Leftover {
	var all []Leftover
	for _, r := range records {
		all = append(all, Leftover{
			Process: Process{PID: r.PID, Start: r.Start, Command: r.Command},
			Fate:    Fate(r.Fate), Signal: r.Signal, Reason: r.Reason,
		})
	}
	return all
}

// stopError is what the callers of Stop and Wait get once the stop is done.
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

// LeftoverError is returned by Wait under FailOnLeftovers when the command
// ended by itself and left something behind, which has been stopped.
type LeftoverError struct{ Leftovers []Leftover }

func (e *LeftoverError) Error() string {
	return "corral: the command left behind " + processes(e.Leftovers)
}

// SurvivorError is returned by Stop, and by Wait if there is nothing that os/exec would
// return, when something is left, or may be, after all that could be done.
// [Report.Survivors] and [Report.Unknown] have it always.
type SurvivorError struct {
	// Survivors are members that are still alive: processes of other users, or in
	// uninterruptible sleep. Each Reason says why.
	Survivors []Leftover

	// Unknown, if not nil, says why it is not known whether others are left: the members
	// could not be listed, and the system has not said that there are none. What could
	// be done without that list has been done.
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

// ContainmentError is returned by Start, before anything has been started, when
// no containment is to be had here that is wanted and is at least what
// Cmd.Require asks for. It is an errors.ErrUnsupported.
type ContainmentError struct {
	Wanted   Containment
	Required Containment
	Declined []Declined // what there might have been, and why it is not to be had
}

func (e *ContainmentError) Error() string {
	b := new(strings.Builder)
	b.WriteString("corral: no containment")
	if e.Required != Auto {
		fmt.Fprintf(b, " at least as strong as %s", e.Required)
	}
	b.WriteString(" is to be had here")
	if e.Wanted != Auto {
		fmt.Fprintf(b, " from %s down", e.Wanted)
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
	for i, d := range e.Declined {
		sep := "; "
		if i == 0 {
			sep = ": "
		}
		reason := strings.TrimPrefix(d.Reason, string(d.Containment)+": ")
		fmt.Fprintf(b, "%s%s: %s", sep, d.Containment, reason)
	}
	return b.String()
}

func (e *ContainmentError) Unwrap() error { return errors.ErrUnsupported }

// processes is how an error names leftovers: all of them, for a program that
// logs the error has nothing else.
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

func survivors(all []Leftover) []Leftover {
	var left []Leftover
	for _, l := range all {
		if l.Fate == Survived {
			left = append(left, l)
		}
	}
	return left
}
