//go:build linux || freebsd

package procgroup

import (
	"errors"
	"os"
	"syscall"
)

func setAttrParentDeathSignal(attr *syscall.SysProcAttr) error {
	if attr.Pdeathsig != 0 && attr.Pdeathsig != syscall.SIGKILL {
		return &ConflictError{"Pdeathsig", "SIGKILL when the parent ends"}
	}
	attr.Pdeathsig = syscall.SIGKILL
	return nil
}

// endWithout kills the calling process if its parent is another one by now.
func endWithout(parentPID int) error {
	if syscall.Getppid() == parentPID {
		return nil
	}
	if err := syscall.Kill(syscall.Getpid(), syscall.SIGKILL); err != nil {
		return os.NewSyscallError("kill", err)
	}
	return errors.New("the parent has ended, but this process is the init of a PID namespace and cannot kill itself")
}
