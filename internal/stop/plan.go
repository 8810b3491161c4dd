package stop

import (
	"os"
	"time"
)

// Plan is how a run is stopped: each step's signal goes to every member, and the
// step lasts until nothing is left or its wait has passed. The kill follows the
// last step.
type Plan []Step

// CloseStdin instead of a signal closes the leader's standard input, as far as
// the owner holds it. A helper has nothing to close: what the owner held ended with
// it. So the step is one that does nothing there, and lasts (see Plan.String).
var CloseStdin os.Signal = closeStdin{}

type closeStdin struct{}

func (closeStdin) Signal()        {}
func (closeStdin) String() string { return "stdin" }

// Step is one step of a plan.
type Step struct {
	Signal os.Signal
	Wait   time.Duration
}
