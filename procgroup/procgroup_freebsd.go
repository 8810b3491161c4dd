package procgroup

import (
	"syscall"

	"github.com/corral-run/corral/internal/procctl"
)

func setParentDeathSignal(parentPID int) error {
	if err := procctl.SetParentDeathSignal(syscall.SIGKILL); err != nil {
		return err
	}
	return endWithout(parentPID)
}
