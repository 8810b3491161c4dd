//go:build !unix && !windows

package corral

import (
	"os"
	"syscall"
)

func endedBy(*os.ProcessState) string { return "" }

func isBrokenPipe(error) bool { return false }

func peakMemory(*os.ProcessState) int64 { return 0 }

func leavesSession(*syscall.SysProcAttr) bool { return false }
