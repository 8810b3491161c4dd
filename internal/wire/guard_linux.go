package wire

import (
	"fmt"
	"strings"

	"github.com/corral-run/corral/internal/stop"
)

// What an owner tells its guard is in the names of directories, which are there
// when both have been killed: the home of all runs has homePrefix, each run's
// directory in it a number, a dot, and its plan.

const (
	HomePrefix = "corral-"
	// GuardReady is what the guard says when it has all that it takes.
	GuardReady = 'r'

	// detachPlan is in place of a plan for a run that is to go on without its
	// owner.
	detachPlan = "detach"
)

// EncodePlan is the part of a directory's name that says how to stop the run.
func EncodePlan(p stop.Plan, detach bool) (string, error) {
	if detach {
		return detachPlan, nil
	}
	const most = 200 // of the 255 bytes that a name may have
	text := p.String()
	if len(text) > most {
		return "", fmt.Errorf("a stop plan of %d steps does not fit into the name of a control group, from which the guard reads it", len(p))
	}
	return text, nil
}

func IsDetached(directory string) bool { return strings.HasSuffix(directory, "."+detachPlan) }

// DecodePlan is the plan of a run whose directory has that name. A name that nobody
// understands stands for an empty one, which kills at once.
func DecodePlan(directory string) stop.Plan {
	_, text, _ := strings.Cut(directory, ".")
	p, err := stop.ParsePlan(text)
	if err != nil {
		return nil
	}
	return p
}
