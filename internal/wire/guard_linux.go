package wire

import (
	"fmt"
	"strings"

	"github.com/corral-run/corral/internal/stop"
)

// An owner tells its guard by the names of directories how to stop runs: names are
// still there when both have been killed. The home of all runs has HomePrefix. Each
// run's directory in it is named by a number, a dot, and its plan.

const (
	// HomePrefix begins the name of every owner's directory.
	HomePrefix = "corral-"

	// detachPlan takes the place of a plan for a run that is to outlive its owner.
	detachPlan = "detach"
)

// EncodePlan returns the part of a directory's name that says how to stop the run.
// A plan that does not fit is an error.
func EncodePlan(p stop.Plan, detach bool) (string, error) {
	if detach {
		return detachPlan, nil
	}
	const most = 200 // of the 255 bytes that a name may have
	text := p.String()
	if len(text) > most {
		return "", fmt.Errorf("a stop plan of %d steps does not fit into the name of a control group, where the guard reads it", len(p))
	}
	return text, nil
}

// IsDetached reports whether a run whose directory has that name is to outlive its
// owner.
func IsDetached(directory string) bool { return strings.HasSuffix(directory, "."+detachPlan) }

// DecodePlan returns the plan of a run whose directory has that name. A name
// without a readable plan stands for an empty plan, which kills at once.
func DecodePlan(directory string) stop.Plan {
	_, text, _ := strings.Cut(directory, ".")
	p, err := stop.ParsePlan(text)
	if err != nil {
		return nil
	}
	return p
}
