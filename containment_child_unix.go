//go:build linux || darwin || freebsd

package corral

import (
	"os"
	"os/exec"

	"github.com/corral-run/corral/internal/handle"
)

// child is a leader that is a child of the owner.
type child struct{ cmd *exec.Cmd }

func (c *child) start(cmd *exec.Cmd) error {
	c.cmd = cmd
	err := cmd.Start()
	if err == nil {
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

func (c *child) reap() (*os.ProcessState, error) {
	err := c.cmd.Wait()
	handle.Drop(c.cmd.Process)
	return c.cmd.ProcessState, err
}
