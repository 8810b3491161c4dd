// Package stub starts helpers that have no runtime, which take a fraction of the
// time. Package bare is what runs in them.
package stub

import (
	"syscall"
	"time"

	"github.com/corral-run/corral/internal/stop"
	"github.com/corral-run/corral/internal/stub/bare"
)

// Switch is an environment variable for tests. There are no stubs if it is "off".
// If it is "always", they are forks, however much memory there is; if it is
// "early", keepers never are.
const Switch = "CORRAL_STUB"

// Steps is the plan as a stub takes it.
func Steps(plan stop.Plan) (steps []bare.Step) {
	for _, step := range plan {
		sig, _ := step.Signal.(syscall.Signal)
		wait := max(0, step.Wait).Milliseconds()
		if step.Wait%time.Millisecond > 0 {
			wait++
		}
		steps = append(steps, bare.Step{Signal: max(0, int(sig)), Wait: wait})
	}
	return steps
}
