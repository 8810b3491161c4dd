//go:build linux || freebsd

package procgroup

import "syscall"

func setAttrParentDeathSignal(attr *syscall.SysProcAttr) error {
	if attr.Pdeathsig != 0 && attr.Pdeathsig != syscall.SIGKILL {
		return &ConflictError{"Pdeathsig", "SIGKILL when the parent ends"}
	}
	attr.Pdeathsig = syscall.SIGKILL
	return nil
}
