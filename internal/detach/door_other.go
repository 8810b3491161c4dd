//go:build !linux

package detach

import (
	"errors"
	"os/exec"
)

// Door is for systems where Corral lets go of single processes.
type Door struct{}

func Open() (*Door, error)       { return nil, errors.ErrUnsupported }
func (*Door) Address() string    { return "" }
func (*Door) Serve(_ Doorkeeper) {}
func (*Door) Close()             {}

// Run is for systems where a run can be left.
func Run(_ *exec.Cmd, _ func(error) *exec.Cmd, ready func(error)) (status int) {
	ready(errors.ErrUnsupported)
	return 1
}
