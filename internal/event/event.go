// Package event has the events of a run: what is told of it while it goes on, as
// lines of JSON and as records of log/slog. docs/events.md is about them, and
// docs/events.schema.json says what each one has.
package event

import (
	"context"
	"log/slog"
	"reflect"
	"time"
)

// Version is that of the events. It grows when a field changes its meaning or goes,
// not when one is added.
const Version = 1

// Kind says what an event is about.
type Kind string

// Event is one of the structs below, by its pointer.
type Event interface {
	// Common returns what it has in common with all others.
	Common() *Head
	kind() Kind
}

// Head is what every event begins with.
type Head struct {
	V    int       `json:"v"`
	Time time.Time `json:"time"`
	Run  string    `json:"run"`
	Kind Kind      `json:"event"`
	// Dropped is how many events are missing before this one.
	Dropped int `json:"dropped,omitempty"`
	// Cut says that texts have been shortened: see Line.
	Cut bool `json:"cut,omitempty"`
}

func (h *Head) Common() *Head { return h }

// ID is the identity of a process: as in the Report.
type ID struct {
	PID   int    `json:"pid"`
	Start uint64 `json:"start"`
}

// LogValue gives it the same names in every log.
func (id ID) LogValue() slog.Value {
	return slog.GroupValue(slog.Int("pid", id.PID), slog.Uint64("start", id.Start))
}

// Process is a process, with what is known of it.
type Process struct {
	ID
	Name       string   `json:"name,omitempty"`
	Command    []string `json:"command,omitempty"`
	Executable string   `json:"executable,omitempty"`
}

// RunStarted is the first event of a run.
type RunStarted struct {
	Head
	Command     []string   `json:"command"`
	Owner       ID         `json:"owner"`
	Containment string     `json:"containment"`
	Declined    []Declined `json:"declined"`
	OwnerDeath  string     `json:"owner_death"`
	Limits      *Limits    `json:"limits,omitempty"`
}

// Limits are those that the run has.
type Limits struct {
	Memory    *int64   `json:"memory_bytes,omitempty"`
	PIDs      *int64   `json:"pids,omitempty"`
	CPUs      *float64 `json:"cpus,omitempty"`
	OpenFiles *int64   `json:"open_files,omitempty"`
	FileSize  *int64   `json:"file_size_bytes,omitempty"`
	Core      *int64   `json:"core_bytes,omitempty"`
}

// LogValue gives them the same names in every log.
func (l Limits) LogValue() slog.Value { return group(l) }

// group is a struct as a record of log/slog has it.
func group(fields any) slog.Value {
	var r slog.Record
	addFields(&r, reflect.ValueOf(fields))
	attrs := make([]slog.Attr, 0, r.NumAttrs())
	r.Attrs(func(a slog.Attr) bool { attrs = append(attrs, a); return true })
	return slog.GroupValue(attrs...)
}

// Declined is a containment that the run did not get.
type Declined struct {
	Containment string `json:"containment"`
	Reason      string `json:"reason"`
}

// LeaderStarted follows RunStarted.
type LeaderStarted struct {
	Head
	Process
}

// LeaderEnded comes when the leader has ended, or later, when it is known how. Without
// an ExitCode it is not known.
type LeaderEnded struct {
	Head
	ID
	ExitCode *int   `json:"exit_code,omitempty"`
	Signal   string `json:"signal,omitempty"`
	*Usage
}

// Usage is what the leader, or the run, has used.
type Usage struct {
	UserSeconds   float64 `json:"user_seconds"`
	SystemSeconds float64 `json:"system_seconds"`
	PeakMemory    int64   `json:"peak_memory_bytes"`
}

// Used is what the run has used, if it has been counted: as in the Report. What is not
// known is not there.
type Used struct {
	Run    *Amounts `json:"run,omitempty"`    // all members together
	Leader *Amounts `json:"leader,omitempty"` // with the descendants that it has waited for
}

// Amounts are what processes have used.
type Amounts struct {
	UserSeconds   *float64 `json:"user_seconds,omitempty"`
	SystemSeconds *float64 `json:"system_seconds,omitempty"`
	PeakMemory    *int64   `json:"peak_memory_bytes,omitempty"`
	PeakPIDs      *int64   `json:"peak_pids,omitempty"`
	Read          *int64   `json:"read_bytes,omitempty"`
	Written       *int64   `json:"written_bytes,omitempty"`
}

// LogValue gives them the same names in every log.
func (u Used) LogValue() slog.Value { return group(u) }

// LogValue gives them the same names in every log.
func (a Amounts) LogValue() slog.Value { return group(a) }

// Leftover is a member that has been found alive when the leader had ended, or when
// the run is stopped.
type Leftover struct {
	Head
	Process
	// Retracted takes an earlier event back.
	Retracted bool `json:"retracted,omitempty"`
}

// StopStep is a step of a stop, once it has been taken, or the kill, when it begins.
type StopStep struct {
	Head
	Because string `json:"because"`
	Step    int    `json:"step"`
	Signal  string `json:"signal"`
	// Of is whom the stop is about, if it is not about the whole run.
	Of          *ID     `json:"of,omitempty"`
	Members     *int    `json:"members,omitempty"`
	WaitSeconds float64 `json:"wait_seconds"`
	Error       string  `json:"error,omitempty"`
}

// Killed is a leftover that the plan has not ended, and the kill has.
type Killed struct {
	Head
	Process
}

// Unkillable is a member that is still alive.
type Unkillable struct {
	Head
	Process
	Reason string `json:"reason"`
}

// Kept is a leftover that is left alone.
type Kept struct {
	Head
	Process
	Fate string `json:"fate"`
}

// RunEnded is the last event of a run. It is the Report in short.
type RunEnded struct {
	Head
	Ending         string         `json:"ending"`
	Cause          string         `json:"cause,omitempty"`
	ExitCode       int            `json:"exit_code"`
	Signal         string         `json:"signal,omitempty"`
	Forced         bool           `json:"forced"`
	SignalError    string         `json:"signal_error,omitempty"`
	Leftovers      int            `json:"leftovers"`
	Fates          map[string]int `json:"fates"`
	Unknown        string         `json:"unknown,omitempty"`
	KeeperLost     bool           `json:"keeper_lost,omitempty"`
	Unguarded      string         `json:"unguarded,omitempty"`
	BestEffort     string         `json:"best_effort,omitempty"`
	Holders        int            `json:"holders,omitempty"`
	OutputDropped  int64          `json:"output_dropped_bytes,omitempty"`
	ElapsedSeconds float64        `json:"elapsed_seconds"`
	Usage
	Used *Used `json:"usage,omitempty"`
}

func (*RunStarted) kind() Kind    { return "run-started" }
func (*LeaderStarted) kind() Kind { return "leader-started" }
func (*LeaderEnded) kind() Kind   { return "leader-ended" }
func (*Leftover) kind() Kind      { return "leftover" }
func (*StopStep) kind() Kind      { return "stop-step" }
func (*Killed) kind() Kind        { return "killed" }
func (*Unkillable) kind() Kind    { return "unkillable" }
func (*Kept) kind() Kind          { return "kept" }
func (*RunEnded) kind() Kind      { return "run-ended" }

// All has one event of each kind.
func All() []Event {
	return []Event{
		new(RunStarted), new(LeaderStarted), new(LeaderEnded), new(Leftover), new(StopStep),
		new(Killed), new(Unkillable), new(Kept), new(RunEnded),
	}
}

// Fill fills the head of an event of a run.
func Fill(e Event, run string, at time.Time) {
	*e.Common() = Head{V: Version, Time: at.Round(0), Run: run, Kind: e.kind()}
}

// Sink gets the events of a run, in their order. It does not block. The events are
// its own, but for what they point to.
type Sink func(Event)

type key struct{}

// With returns a context with which a command tells sink.
func With(ctx context.Context, sink Sink) context.Context {
	return context.WithValue(ctx, key{}, sink)
}

// SinkOf returns whom commands with ctx, which may be nil, tell: nil for nobody.
func SinkOf(ctx context.Context) Sink {
	if ctx == nil {
		return nil
	}
	sink, _ := ctx.Value(key{}).(Sink)
	return sink
}
