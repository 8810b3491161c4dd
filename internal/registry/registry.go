// Package registry is where live runs can be found: a private directory of the user
// with a file for each run, and a socket by which its owner is asked about it. It
// runs in the owner, which registers its runs, and in the command corral, which looks
// for them.
//
// What tells whether an entry is live is who its owner is, by PID, start time, boot
// and name spaces. Whether the socket answers says nothing about that. An owner that
// cannot be seen from here, as it is in another PID namespace, may live: its entry is
// Unseen, unless the kernel says that nobody has the socket any more. An entry whose
// owner is known to be dead is removed by whoever sees it. Its name is random and is not
// used again, so that nobody can remove another one by that.
//
// A file is written under another name and renamed: who reads it sees all of it, or
// what was there before. The environment of a command is never in it.
//
// What a run has let go of on purpose is in a file of its own (Kept), which stays
// until none of those lives.
package registry

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/corral-run/corral/internal/proctree"
)

// Version is that of the files, and of what is said over the socket.
const Version = 1

// LeftAge is how old a file is that belongs to no entry, and that nobody is about to
// write or bind any more.
const LeftAge = time.Hour

// Process names a process, and no later one with its PID.
type Process struct {
	PID        int      `json:"pid"`
	Start      uint64   `json:"start"`
	Command    []string `json:"command,omitempty"`
	Executable string   `json:"executable,omitempty"`
}

// ID is its identity.
func (p Process) ID() proctree.ID { return proctree.ID{PID: p.PID, Start: p.Start} }

// Entry is what is known of a run.
type Entry struct {
	Version int               `json:"v"`
	ID      string            `json:"id"`
	Name    string            `json:"name"`
	Labels  map[string]string `json:"labels,omitempty"`
	// Command is the command line, or only its first word if it is Redacted. A long one
	// is cut.
	Command  []string `json:"command"`
	Redacted bool     `json:"redacted,omitempty"`
	Dir      string   `json:"dir,omitempty"`
	Owner    Owner    `json:"owner"`
	// Program is what the owner was called by: it tells who started the run.
	Program     string    `json:"program"`
	Leader      Process   `json:"leader"`
	Started     time.Time `json:"started"`
	Containment string    `json:"containment"`
	// NoControl says why the run has no socket.
	NoControl string `json:"no_control,omitempty"`

	// Kept are those that the run has let go of. Only a file of its own has them.
	Kept []Process `json:"kept,omitempty"`
	// LeftOut is what there was no room for in Kept.
	LeftOut *LeftOut `json:"left_out,omitempty"`
	// Ended is how the run ended. Only the record of a detached run has it.
	Ended *Ended `json:"ended,omitempty"`
}

// Ended is how a detached run ended.
type Ended struct {
	Time   time.Time `json:"time"`
	Status int       `json:"status"`
	Ending string    `json:"ending,omitempty"`
	Signal string    `json:"signal,omitempty"`
}

// State says what is known of an entry's owner.
type State int

const (
	Live   State = iota
	Stale        // the owner is dead
	Unseen       // it cannot be seen from here, or not be told
)

func (s State) String() string { return [...]string{"live", "stale", "unseen"}[s] }

// NewID returns an identifier that no other run has. It is the run's in all that
// tells of it.
func NewID() string {
	const letters = "0123456789abcdefghjkmnpqrstvwxyz" // none that looks like another
	var id [idLength]byte
	bits := rand.Uint64()
	for i := range id {
		id[i] = letters[bits&31]
		bits >>= 5
	}
	return string(id[:])
}

const idLength = 10

type idKey struct{}

// WithID returns a context with which the run of a command has this ID. It is for the
// command corral, which has to know it before the start.
func WithID(ctx context.Context, id string) context.Context {
	return context.WithValue(ctx, idKey{}, id)
}

// IDOf returns a new ID, or the one that comes with the command's context, which may be
// nil.
func IDOf(ctx context.Context) string {
	if ctx != nil {
		if id, ok := ctx.Value(idKey{}).(string); ok {
			return id
		}
	}
	return NewID()
}

// IsID reports whether s may be what NewID has returned.
func IsID(s string) bool {
	return len(s) == idLength && !strings.ContainsFunc(s, func(r rune) bool { return (r < '0' || r > '9') && (r < 'a' || r > 'z') })
}

const (
	mostName   = 64
	mostLabels = 64
	mostLabel  = 256
)

// CheckName says what is wrong with the name of a run.
func CheckName(name string) error {
	switch {
	case name == "":
		return errors.New("a name cannot be empty")
	case len(name) > mostName:
		return fmt.Errorf("a name has at most %d characters", mostName)
	case !isLetter(rune(name[0])), strings.ContainsFunc(name, func(r rune) bool { return !inName(r) }):
		return errors.New("a name has letters, digits, and . _ - after the first one")
	}
	return nil
}

// NameOf makes a name of the file name of a command.
func NameOf(command string) string {
	name := strings.Map(func(r rune) rune {
		if !inName(r) {
			return '_'
		}
		return r
	}, filepath.Base(command))
	name = strings.TrimLeftFunc(name, func(r rune) bool { return !isLetter(r) })
	if name == "" {
		return "run"
	}
	return name[:min(len(name), mostName)]
}

func isLetter(r rune) bool {
	return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9'
}

func inName(r rune) bool { return isLetter(r) || strings.ContainsRune("._-", r) }

// CheckLabels says what is wrong with the labels of a run.
func CheckLabels(labels map[string]string) error {
	if len(labels) > mostLabels {
		return fmt.Errorf("a run has at most %d labels", mostLabels)
	}
	for key, value := range labels {
		if err := CheckLabel(key, value); err != nil {
			return err
		}
	}
	return nil
}

// CheckLabel says what is wrong with one label.
func CheckLabel(key, value string) error {
	switch {
	case key == "":
		return errors.New("the key of a label is empty: use KEY=VALUE")
	case strings.ContainsAny(key, "=,"):
		return fmt.Errorf("the key of the label %q has a = or a comma in it", key)
	case len(key) > mostLabel, len(value) > mostLabel:
		return fmt.Errorf("the label %.20q is too long: key and value have at most %d bytes each", key, mostLabel)
	case !utf8.ValidString(key), !utf8.ValidString(value):
		return fmt.Errorf("the label %q is not UTF-8", key)
	}
	return nil
}

// mostCommand bounds the command line in an entry, in bytes.
const mostCommand = 8 << 10

// Shown is a command line as an entry has it.
func Shown(command []string, redact bool) []string {
	if redact {
		return slices.Clone(command[:min(1, len(command))])
	}
	var shown []string
	left := mostCommand
	for _, word := range command {
		if left -= len(word) + 1; left < 0 {
			return append(shown, word[:max(0, len(word)+left)]+"...")
		}
		shown = append(shown, word)
	}
	return shown
}

// A Request is what a client says on a run's socket: one line of JSON. The answer is
// a Reply, one line too. After "stop" it comes when the run is over, as after "wait".
type Request struct {
	Version int    `json:"v"`
	Do      string `json:"do"` // stop, signal, wait, look
	// Signal is the number of what "signal" sends, and the first step of "stop", if
	// it is not to be that of the run's own plan.
	Signal int `json:"signal,omitempty"`
	// Grace is how long that step may take, in nanoseconds.
	Grace time.Duration `json:"grace_ns,omitempty"`
}

// Reply answers a Request.
type Reply struct {
	Version int    `json:"v"`
	Error   string `json:"error,omitempty"`
	// Phase is "starting", "running", "ending" when the leader has ended, or "stopping".
	Phase   string    `json:"phase,omitempty"`
	Members []Process `json:"members,omitempty"`
	LeftOut *LeftOut  `json:"left_out,omitempty"` // what there was no room for in Members
	Waiting int       `json:"waiting,omitempty"`  // how many clients wait for the outcome
	Outcome *Outcome  `json:"outcome,omitempty"`
}

// Outcome is how a run ended, as its Report has it.
type Outcome struct {
	Ending    string `json:"ending"`
	ExitCode  int    `json:"exit_code"`
	Signal    string `json:"signal,omitempty"`
	Forced    bool   `json:"forced,omitempty"`
	Survivors int    `json:"survivors,omitempty"`
	Unknown   string `json:"unknown,omitempty"`
	// Failed says what besides made a success a failure.
	Failed Failure `json:"failed,omitempty"`
}

// Failure is what makes a failure of a run whose command has succeeded.
type Failure string

const (
	FailedLeftovers Failure = "leftovers" // there were some, which FailOnLeftovers forbids
	FailedOther     Failure = "other"     // Wait has another error, but that the output is held by who was kept on purpose
	NotWaited       Failure = "not waited for"
	LetGo           Failure = "let go"
	NotStarted      Failure = "not started"
)

// Handler does for the owner what clients ask for. Its methods are called by
// goroutines of the Listing's own.
type Handler interface {
	// Stop begins to stop the run, by its own plan if neither is given, and does not
	// wait for that.
	Stop(signal int, grace time.Duration) error
	Signal(signal int) error
	Look() (phase string, members []Process, err error)
}

var (
	// ErrNoAnswer says that the owner has not answered: its run is over, or it is
	// dead or stopped.
	ErrNoAnswer = errors.New("its owner does not answer")
	// ErrNoControl says that a run has no socket.
	ErrNoControl = errors.New("it cannot be steered")
)

// Contents are what is in a directory of the registry.
type Contents struct {
	Runs []Found
	// Kept are the runs that have let go of processes which still live, or may.
	Kept []Found
	// Strange are files with the name of an entry that do not hold one.
	Strange []string
	// Removed counts what was stale.
	Removed int
}

// Found is an entry, and what is known of its owner; or of those that were kept.
type Found struct {
	Entry
	State State
	// From is where it was found.
	From *Dir
}

// LeftOut counts what there was no room for.
type LeftOut struct {
	Commands  int `json:"commands,omitempty"` // processes that are there without their command lines
	Processes int `json:"processes,omitempty"`
}

func (l *LeftOut) String() string {
	var parts []string
	if l.Commands > 0 {
		parts = append(parts, fmt.Sprintf("%d command lines", l.Commands))
	}
	if l.Processes > 0 {
		parts = append(parts, fmt.Sprintf("%d processes", l.Processes))
	}
	return strings.Join(parts, ", ")
}
