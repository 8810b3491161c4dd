// Package detach has the door by which a member leaves its run. It runs on both
// sides: the owner has the door, and a process that leaves knocks.
//
// The address is in the environment of the run. It is no secret, and gives no right:
// the kernel says who knocks, and only a member gets out, itself and with what it
// starts from then on. Nor can anybody take the address's place: it is in the
// kernel's abstract name space, has 128 random bits, and is nobody's file.
//
// Who leaves says nothing. It connects, gets one line, and says who it has started:
//
//	ok ADDRESS   it is out; ADDRESS is the door of the run around this one, if any
//	no REASON
//	PID          whom it has started, for the report
package detach

import (
	"errors"
	"os"
	"os/exec"
	"slices"
	"strings"

	"github.com/corral-run/corral/internal/proctree"
)

// Variable has the address, in the environment of a run that may be left.
const Variable = "CORRAL_DETACH"

// Hide returns the command's environment without an address, or nil if it is the
// caller's, and has none.
func Hide(cmd *exec.Cmd) []string {
	const prefix = Variable + "="
	names := func(entry string) bool { return strings.HasPrefix(entry, prefix) }
	env := cmd.Env
	if env == nil {
		if _, there := os.LookupEnv(Variable); !there {
			return nil
		}
		env = cmd.Environ()
	}
	if !slices.ContainsFunc(env, names) {
		return env
	}
	return slices.DeleteFunc(slices.Clone(env), names)
}

// Doorkeeper decides for the owner.
type Doorkeeper struct {
	// Leave lets go of a process, or says why not.
	Leave func(leaver proctree.ID) error
	// Left is told whom one that has left has started.
	Left func(leaver, started proctree.Process)
}

// RefusedError says that a run may not be left.
type RefusedError struct{ Reason string }

func (e *RefusedError) Error() string { return "the run does not let it go: " + e.Reason }

// ErrNoDoor says that the process is in no run that may be left.
var ErrNoDoor = errors.New("not inside a run that may be left: start the run with --allow-detach, or set Cmd.AllowDetach (there is no " + Variable + " in the environment)")
