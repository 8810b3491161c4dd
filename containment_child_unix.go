//go:build linux || darwin || freebsd

package corral

import (
	"os"
	"os/exec"
	"syscall"

	"github.com/corral-run/corral/internal/handle"
)

// child is a leader that is a child of the owner.
type child struct {
	cmd *exec.Cmd
	pid int
}

func (c *child) start(cmd *exec.Cmd) error {
	c.cmd = cmd
	err := cmd.Start()
	if err == nil {
		c.pid = cmd.Process.Pid
		handle.Hold(cmd.Process)
	}
	return err
}

// abandon takes a start back.
func (c *child) abandon() {
	c.cmd.Process.Kill()
	c.cmd.Wait()
	handle.Drop(c.cmd.Process)
}

// letGo: a child needs nothing for that.
func (c *child) letGo() error {
	handle.Drop(c.cmd.Process)
	return nil
}

// drop gives up what only a wait for the child has use for.
func (c *child) drop() {
	if c.cmd != nil && c.cmd.Process != nil {
		handle.Drop(c.cmd.Process)
	}
}

func (c *child) reap() (*os.ProcessState, error) {
	err := c.cmd.Wait()
	c.drop()
	if err == syscall.EINVAL && released(c.cmd.Process) {
		return c.reapReleased()
	}
	return c.cmd.ProcessState, err
}

// reapReleased reaps a child whose process has been released while somebody waited for it:
// under os/exec, that does not disturb who waits.
func (c *child) reapReleased() (*os.ProcessState, error) {
	var status syscall.WaitStatus
	var rusage syscall.Rusage
	_, err := syscall.Wait4(c.pid, &status, 0, &rusage)
	for err == syscall.EINTR {
		_, err = syscall.Wait4(c.pid, &status, 0, &rusage)
	}
	if err != nil {
		return nil, os.NewSyscallError("wait", err)
	}
	state := stateOf(c.pid, status, &rusage, nil)
	switch {
	case state == nil: // os.ProcessState is not what it was
		return nil, syscall.EINVAL
	case !state.Success():
		return state, &exec.ExitError{ProcessState: state}
	}
	return state, nil
}
