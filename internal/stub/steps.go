//go:build unix || windows

package stub

import (
	"syscall"
	"time"

	"github.com/corral-run/corral/internal/stop"
	"github.com/corral-run/corral/internal/stub/bare"
)

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
