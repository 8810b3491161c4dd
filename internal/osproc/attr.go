package osproc

import (
	"os/exec"
	"syscall"
)

// CopyAttr returns a copy of attr, of which nil stands for none.
func CopyAttr(attr *syscall.SysProcAttr) *syscall.SysProcAttr {
	c := new(syscall.SysProcAttr)
	if attr != nil {
		*c = *attr
	}
	return c
}

// OwnAttr gives cmd a copy of its attributes, for the caller to change, and returns
// it.
func OwnAttr(cmd *exec.Cmd) *syscall.SysProcAttr {
	cmd.SysProcAttr = CopyAttr(cmd.SysProcAttr)
	return cmd.SysProcAttr
}
