package corral

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/corral-run/corral/internal/hold"
	"github.com/corral-run/corral/internal/proctree"
	"github.com/corral-run/corral/internal/stop"
)

// Ending says why a run ended.
type Ending string

const (
	Exited    Ending = "exited"    // the leader ended by itself
	TimedOut  Ending = "timed_out" // Cmd.Timeout passed
	Idle      Ending = "idle"      // Cmd.IdleTimeout passed without output
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
	Kept      Fate = "kept"         // left alone, because of Cmd.Keep, KeepLeftovers or DetachLeftovers, or the run was let go
	Detached  Fate = "detached"     // it left the run by itself, as Cmd.AllowDetach allows
	Survived  Fate = stop.Survived  // it could not be killed; Leftover.Reason says why
	Ended     Fate = stop.Ended     // by itself, when it was due to be killed and may not be, or while a Scope held it
	Held      Fate = "held"         // left alone for now, because of HoldLeftovers
)

// Process names a process. A later process may take over a PID alone, but not PID
// and start together.
type Process struct {
	PID int `json:"pid"`
	// Start is the start time in the kernel's own unit: clock ticks since boot on
	// Linux, microseconds since boot on FreeBSD, microseconds since 1970 on macOS,
	// 100 ns since 1601 on Windows. Compare it; do not compute with it.
	Start uint64 `json:"start"`
	// Command is the command line as far as the kernel tells it: the arguments,
	// or the short name in brackets where they cannot be read.
	Command []string `json:"command"`
	// Executable is the path of the program that the process executes, as the kernel
	// has it. It is there for those that Cmd.Keep is asked about and for those kept
	// or detached, on Linux, where the owner may read it.
	Executable string `json:"executable,omitempty"`
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

// Leftover is a member, other than the leader, that did not end by itself: it was
// alive when the leader had ended, or when the run was stopped.
type Leftover struct {
	Process
	Fate Fate `json:"fate"`
	// Signal is the signal of the stop plan's step in which it ended, such as
	// "SIGTERM", or "stdin" if that step closed standard input; empty for the other
	// fates.
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
// Its JSON form has the field names given here; they stay as they are. Times are
// RFC 3339, durations are seconds.
type Report struct {
	Command []string `json:"command"`
	Leader  Process  `json:"leader"`
	Ending  Ending   `json:"ending"`
	// Cause says in words why the run ended so: the context's cause, the time that
	// passed, what became of the lifeline. It is empty for Exited and Stopped.
	Cause string `json:"cause,omitempty"`
	// ExitCode is the leader's exit status, or -1 if a signal ended it.
	ExitCode int `json:"exit_code"`
	// Signal is the signal that ended the leader, such as "SIGTERM".
	Signal string `json:"signal,omitempty"`
	// Lifeline is the one that was lost, if the Ending is LifelineLost.
	Lifeline Lifeline `json:"lifeline,omitempty"`
	// Forced says that the stop plan was not enough: the containment's kill was
	// used, on the leader or on any other member.
	Forced bool `json:"forced"`
	// SignalError says why a step of the stop plan could reach no member, so that
	// the run was not asked to end. On Windows, no member had a console; elsewhere,
	// none may be signalled. Or the step was to close standard input, and there was
	// nothing to close.
	SignalError string `json:"signal_error,omitempty"`
	// Containment is what held the run. Declined lists the stronger ones that were
	// not available here.
	Containment Containment `json:"containment"`
	Declined    []Declined  `json:"declined"`
	// BestEffort says how a process may have got away unseen, where the system has
	// nothing that holds all: under a keeper on macOS, or with Cmd.AdoptOrphans if
	// the system refuses it. What a containment can never hold is in the package
	// documentation, and not said here.
	BestEffort string `json:"best_effort,omitempty"`
	// Leftovers are the members that were alive when the leader had ended, or when
	// the run was stopped or let go. The leader itself is among them if it could
	// not be stopped, or was let go.
	Leftovers []Leftover `json:"leftovers"`
	// Unknown says why it is not known whether anything is left besides the
	// Leftovers: see SurvivorError.
	Unknown string `json:"unknown,omitempty"`
	// Holders are processes, kept or outside the run, that still held a pipe or
	// terminal open when WaitDelay passed. Linux only, as far as the caller may
	// look.
	Holders []Process `json:"holders,omitempty"`
	// OutputDropped is how many bytes Cmd.OutputLimit has left out.
	OutputDropped int64 `json:"output_dropped_bytes,omitempty"`
	// KeeperLost says that somebody has killed the run's keeper: see ErrKeeperLost.
	KeeperLost bool `json:"keeper_lost,omitempty"`
	// Unguarded says why there was no guard for a part of the run: somebody had
	// killed it, and it could not be replaced at once. Had the owner been killed
	// then, the run would have gone on.
	Unguarded string    `json:"unguarded,omitempty"`
	Started   time.Time `json:"started"`
	// Elapsed is the time from start until nothing was left, or until what was left
	// was given up.
	Elapsed time.Duration `json:"-"` // elapsed_seconds
	// UserTime and SystemTime are the CPU time of the leader and of the descendants
	// it waited for. PeakMemory is the largest resident size of any one of them in
	// bytes, 0 where the system does not tell. On Windows, the times are of all
	// members, and PeakMemory is of committed memory.
	UserTime   time.Duration `json:"-"` // user_seconds
	SystemTime time.Duration `json:"-"` // system_seconds
	PeakMemory int64         `json:"peak_memory_bytes"`
	// Usage is what the run has used, all members together where that is known. It is
	// there if Cmd.Accounting or Cmd.Limits asks for it.
	Usage *Usage `json:"usage,omitempty"`

	overLimit bool // Limits.Memory was used up
}

// seconds is a duration as it is in JSON.
type seconds time.Duration

func (d seconds) MarshalJSON() ([]byte, error) { return json.Marshal(time.Duration(d).Seconds()) }

func (d *seconds) UnmarshalJSON(b []byte) error {
	var s float64
	if err := json.Unmarshal(b, &s); err != nil {
		return err
	}
	*d = seconds(math.Round(s * float64(time.Second))) // or it would be read as a nanosecond less, now and then
	return nil
}

// plainReport has Report's fields and none of its methods. A struct can embed it,
// and give later fields the same JSON name: those then take its fields' place.
type plainReport Report

type reportTimes struct {
	Elapsed    seconds `json:"elapsed_seconds"`
	UserTime   seconds `json:"user_seconds"`
	SystemTime seconds `json:"system_seconds"`
}

// MarshalJSON writes durations as seconds, with up to nine decimals. A struct that
// embeds a Report gets this method too, so its other fields are not written: give
// it a named field instead.
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

// leftoversOf turns a stop's records into what callers see.
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

func survivors(all []Leftover) []Leftover {
	var left []Leftover
	for _, l := range all {
		if l.Fate == Survived {
			left = append(left, l)
		}
	}
	return left
}

// makeReport is called with mu held, when all is over. The caller has asked for the
// facts before, as that may take a while.
func (r *run) makeReport(known hold.Facts) *Report {
	rep := &Report{
		Command:       r.argv(),
		Leader:        Process{PID: r.leader.PID, Start: r.leader.Start, Command: r.argv()},
		Containment:   r.cont.name,
		Declined:      append([]Declined{}, r.cont.declined...), // in JSON, nothing is a list too
		KeeperLost:    errors.Is(r.reapErr, ErrKeeperLost) || known.Lost,
		Holders:       r.cmd.stdio.holders,
		OutputDropped: r.cmd.stdio.dropped(),
		Started:       r.started,
		Elapsed:       time.Since(r.started),
	}
	r.reportEnding(rep)
	r.reportLeftovers(rep)
	r.reportFacts(rep, known)
	r.reportUsage(rep, known)
	return rep
}

// reportEnding says why the run ended, and how the leader ended.
func (r *run) reportEnding(rep *Report) {
	rep.Ending, rep.ExitCode = cmp.Or(r.ending, Exited), -1
	switch ctx := r.cmd.ctx; {
	case r.ending == Cancelled && ctx != nil && ctx.Err() != nil:
		rep.Cause = context.Cause(ctx).Error()
	case r.endErr != nil:
		rep.Cause = r.endErr.Error()
	}
	var lifeline *LifelineError
	if errors.As(r.endErr, &lifeline) {
		rep.Lifeline = lifeline.Lifeline
	}
	if state := r.state; state != nil {
		rep.ExitCode = state.ExitCode()
		rep.Signal = endedBy(state)
		rep.UserTime, rep.SystemTime = state.UserTime(), state.SystemTime()
		rep.PeakMemory = peakMemory(state)
	}
}

// reportLeftovers says what was left, and what was done about it.
func (r *run) reportLeftovers(rep *Report) {
	unknown := r.unknown
	rep.Leftovers = r.kept
	if s := r.stop; s != nil {
		rep.Leftovers, rep.Forced = leftoversOf(s.Leftovers), s.Killed
		if s.SignalErr != nil {
			rep.SignalError = s.SignalErr.Error()
		}
		unknown = s.LookErr
	}
	if h := r.held; h != nil {
		rep.Leftovers, rep.Forced, unknown = h.leftovers(r.kept, unknown)
	}
	rep.Leftovers = slices.Concat(rep.Leftovers, r.spared)
	if unknown != nil {
		rep.Unknown = unknown.Error()
	}
	if rep.Leftovers == nil {
		rep.Leftovers = []Leftover{}
	}
}

// reportFacts says what the containment knows.
func (r *run) reportFacts(rep *Report, known hold.Facts) {
	rep.Unguarded, rep.BestEffort = known.Unguarded, known.BestEffort
	if lacking := r.cont.lacking; lacking != "" {
		if rep.BestEffort != "" {
			rep.BestEffort += "; "
		}
		rep.BestEffort += lacking
	}
	rep.UserTime = max(rep.UserTime, known.Used.User)
	rep.SystemTime = max(rep.SystemTime, known.Used.System)
	rep.PeakMemory = max(rep.PeakMemory, known.Used.PeakMemory)
}

func (r *run) argv() []string {
	if len(r.cmd.Args) > 0 {
		return r.cmd.Args
	}
	return []string{r.cmd.Path}
}
