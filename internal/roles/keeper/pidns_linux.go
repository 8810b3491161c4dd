package keeper

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// mountProc gives the namespace its own /proc, which nobody outside sees.
func mountProc() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SLAVE, ""); err != nil {
		return fmt.Errorf("mount / as a slave: %w", err)
	}
	err := unix.Mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "")
	if err != nil {
		return fmt.Errorf("mount /proc: %w", err)
	}
	if os.Geteuid() == 0 {
		return nil
	}
	// The capabilities that unshare has added are not for the leader, which this
	// thread starts. The ambient set is a part of the inheritable one
	// (capabilities(7)).
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var none [2]unix.CapUserData
	if err := unix.Capset(&header, &none[0]); err != nil {
		return os.NewSyscallError("capset", err)
	}
	return nil
}

// killNamespace kills everybody in the PID namespace but its init, this process.
// The kernel does it in one go, so nobody can fork away from it (kill(2)).
func (k *keeper) killNamespace() {
	if k.init && os.Getpid() == 1 {
		unix.Kill(-1, unix.SIGKILL)
	}
}
