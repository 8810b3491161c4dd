package stop

import (
	"os"
	"time"
)

// Plan is how a run is stopped: each step's signal goes to every member, and the
// step lasts until nothing is left or its wait has passed. The kill follows the
// last step.
type Plan []Step

// Step is one step of a plan.
type Step struct {
	Signal os.Signal
	Wait   time.Duration
}
