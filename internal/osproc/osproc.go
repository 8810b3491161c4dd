// Package osproc does with an os.Process and its attributes what package os cannot
// do, or not in every supported version of Go.
package osproc

import (
	"os/exec"
	"syscall"
)

// CopyAttr returns a copy of attr; nil stands for no attributes.
func CopyAttr(attr *syscall.SysProcAttr) *syscall.SysProcAttr {
	c := new(syscall.SysProcAttr)
	if attr != nil {
		*c = *attr
	}
	return c
}

// OwnAttr gives cmd a copy of its attributes and returns it, for the caller to
// change.
func OwnAttr(cmd *exec.Cmd) *syscall.SysProcAttr {
	cmd.SysProcAttr = CopyAttr(cmd.SysProcAttr)
	return cmd.SysProcAttr
}
