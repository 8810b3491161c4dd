//go:build linux || darwin || freebsd || windows

package corral

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"strings"
	"syscall"

	"github.com/corral-run/corral/internal/stop"
)

// The exit statuses of the runner itself are those of the command corral.
const (
	runnerFailed       = 125
	runnerCannotRun    = 126
	runnerFindsNothing = 127
)

// planOf is the reverse of StopPlan.internal. It is never nil, which would be the
// default.
func planOf(plan stop.Plan) StopPlan {
	steps := StopPlan{}
	for _, step := range plan {
		steps = append(steps, StopStep{Signal: step.Signal, Wait: step.Wait})
	}
	return steps
}

// runnerFails says why the command does not run, on what would have been its
// standard error.
func runnerFails(err error) {
	status := runnerFailed
	var lost *LifelineError
	var path *fs.PathError
	var lookup *exec.Error
	executing := errors.As(err, &path) && path.Op == "fork/exec" || errors.As(err, &lookup)
	switch {
	case errors.As(err, &lost):
		syscall.Exit(status) // there is nobody who would read it
	case executing && (errors.Is(err, fs.ErrNotExist) || errors.Is(err, exec.ErrNotFound)):
		status = runnerFindsNothing
	case executing:
		status = runnerCannotRun
	}
	os.Stderr.WriteString("corral: " + strings.TrimPrefix(err.Error(), "corral: ") + "\n")
	syscall.Exit(status)
}
