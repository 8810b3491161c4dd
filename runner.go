//go:build linux || darwin || freebsd || windows

package corral

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"strings"
	"syscall"
)

// The exit statuses of the runner itself are those of the command corral.
const (
	runnerFailed       = 125
	runnerCannotRun    = 126
	runnerFindsNothing = 127
)

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
