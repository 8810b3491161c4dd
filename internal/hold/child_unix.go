//go:build unix

package hold

import (
	"os"
	"os/exec"
	"syscall"

	"github.com/corral-run/corral/internal/osproc"
)

// Child is a leader that is a child of the owner.
type Child struct {
	cmd *exec.Cmd
	pid int // also once the caller has released the process, which loses its own
}

// Start starts the command.
func (c *Child) Start(cmd *exec.Cmd) error {
	c.cmd = cmd
	err := cmd.Start()
	if err == nil {
		c.pid = cmd.Process.Pid
		osproc.HoldHandle(cmd.Process)
	}
	return err
}

// Process is the leader.
func (c *Child) Process() *os.Process { return c.cmd.Process }

// PID is the leader's, or 0 if none has been started.
func (c *Child) PID() int { return c.pid }

// Abandon takes a start back: it kills the leader and reaps it.
func (c *Child) Abandon() {
	c.cmd.Process.Kill()
	c.cmd.Wait()
	osproc.DropHandle(c.cmd.Process)
}

// LetGo leaves the leader alone. A child needs nothing done for that.
func (c *Child) LetGo() error {
	osproc.DropHandle(c.cmd.Process)
	return nil
}

// DropHandle gives up the handle, which only a wait for the child needs.
func (c *Child) DropHandle() {
	if c.cmd != nil && c.cmd.Process != nil {
		osproc.DropHandle(c.cmd.Process)
	}
}

// Reap reaps the leader and returns how it ended, as exec.Cmd.Wait does.
func (c *Child) Reap() (*os.ProcessState, error) {
	err := c.cmd.Wait()
	c.DropHandle()
	if err == syscall.EINVAL && osproc.Released(c.cmd.Process) {
		return c.reapReleased()
	}
	return c.cmd.ProcessState, err
}

// Ended is Reap: a child pins nothing for long.
func (c *Child) Ended() (*os.ProcessState, error) { return c.Reap() }

// reapReleased reaps a child that somebody has released while another waited for
// it: under os/exec, a release does not disturb who waits.
func (c *Child) reapReleased() (*os.ProcessState, error) {
	var status syscall.WaitStatus
	var rusage syscall.Rusage
	_, err := syscall.Wait4(c.pid, &status, 0, &rusage)
	for err == syscall.EINTR {
		_, err = syscall.Wait4(c.pid, &status, 0, &rusage)
	}
	if err != nil {
		return nil, os.NewSyscallError("wait", err)
	}
	return osproc.Ended(c.pid, status, &rusage)
}
