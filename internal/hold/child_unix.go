//go:build linux || darwin || freebsd

package hold

import (
	"os"
	"os/exec"
	"syscall"

	"github.com/corral-run/corral/internal/osproc"
)

// Child is a leader that is a child of the owner.
type Child struct {
	Cmd *exec.Cmd
	PID int
}

func (c *Child) Start(cmd *exec.Cmd) error {
	c.Cmd = cmd
	err := cmd.Start()
	if err == nil {
		c.PID = cmd.Process.Pid
		osproc.HoldHandle(cmd.Process)
	}
	return err
}

// Abandon takes a start back.
func (c *Child) Abandon() {
	c.Cmd.Process.Kill()
	c.Cmd.Wait()
	osproc.DropHandle(c.Cmd.Process)
}

// LetGo: a child needs nothing for that.
func (c *Child) LetGo() error {
	osproc.DropHandle(c.Cmd.Process)
	return nil
}

// Drop gives up what only a wait for the child has use for.
func (c *Child) Drop() {
	if c.Cmd != nil && c.Cmd.Process != nil {
		osproc.DropHandle(c.Cmd.Process)
	}
}

func (c *Child) Reap() (*os.ProcessState, error) {
	err := c.Cmd.Wait()
	c.Drop()
	if err == syscall.EINVAL && osproc.Released(c.Cmd.Process) {
		return c.reapReleased()
	}
	return c.Cmd.ProcessState, err
}

// reapReleased reaps a child whose process has been released while somebody waited for it:
// under os/exec, that does not disturb who waits.
func (c *Child) reapReleased() (*os.ProcessState, error) {
	var status syscall.WaitStatus
	var rusage syscall.Rusage
	_, err := syscall.Wait4(c.PID, &status, 0, &rusage)
	for err == syscall.EINTR {
		_, err = syscall.Wait4(c.PID, &status, 0, &rusage)
	}
	if err != nil {
		return nil, os.NewSyscallError("wait", err)
	}
	state := osproc.StateOf(c.PID, status, &rusage, nil)
	switch {
	case state == nil: // os.ProcessState is not what it was
		return nil, syscall.EINVAL
	case !state.Success():
		return state, &exec.ExitError{ProcessState: state}
	}
	return state, nil
}
