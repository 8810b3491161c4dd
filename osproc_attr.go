package corral

import (
	"os/exec"
	"syscall"
)

// copyAttr returns a copy of attr, of which nil stands for none.
func copyAttr(attr *syscall.SysProcAttr) *syscall.SysProcAttr {
	c := new(syscall.SysProcAttr)
	if attr != nil {
		*c = *attr
	}
	return c
}

// ownAttr gives cmd a copy of its attributes, for the caller to change, and returns it.
func ownAttr(cmd *exec.Cmd) *syscall.SysProcAttr {
	cmd.SysProcAttr = copyAttr(cmd.SysProcAttr)
	return cmd.SysProcAttr
}
