package corral

import (
	"fmt"
	"os"
	"syscall"
	"time"

	"github.com/corral-run/corral/internal/stop"
)

// StopPlan is how a run is stopped: each step's signal goes to every member,
// and the step lasts until nothing is left or its wait has passed. After the
// last step the containment's kill follows; it is not part of the plan.
type StopPlan []StopStep

// StopStep is one step of a StopPlan.
type StopStep struct {
	// Signal is sent to every member once, and right after it what makes stopped
	// members run again (SIGCONT), so that they can obey. A member with handlers for
	// both may be in the second one first.
	//
	// Windows has no signals. There, syscall.SIGTERM stands for CTRL_BREAK, and
	// os.Interrupt for Ctrl-C where the run has a console of its own (by
	// CREATE_NO_WINDOW or CREATE_NEW_CONSOLE in SysProcAttr), else for
	// CTRL_BREAK too; syscall.SIGHUP closes the members' windows. If that reaches
	// no member, as one without a console, the step is over at once, and
	// Report.SignalError says why.
	Signal os.Signal
	// Wait is the longest time the step may take.
	Wait time.Duration
}

// DefaultStopPlan returns the plan of a Cmd that has none: SIGTERM, and five seconds to
// obey.
func DefaultStopPlan() StopPlan {
	return StopPlan{{Signal: syscall.SIGTERM, Wait: 5 * time.Second}}
}

// internal is p in the words of package stop.
func (p StopPlan) internal() stop.Plan {
	var steps stop.Plan
	for _, s := range p {
		steps = append(steps, stop.Step(s))
	}
	return steps
}

func (p StopPlan) check() error {
	for i, step := range p {
		if step.Signal == nil {
			return fmt.Errorf("corral: step %d of the stop plan has no signal", i+1)
		}
		if step.Wait < 0 {
			return fmt.Errorf("corral: step %d of the stop plan has a negative wait, %v", i+1, step.Wait)
		}
	}
	return nil
}
