//go:build !linux && !darwin && !freebsd && !windows

package corral

import (
	"os"
	"syscall"
)

func released(*os.Process) bool               { return false }
func leavesSession(*syscall.SysProcAttr) bool { return false }
