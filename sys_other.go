//go:build !unix && !windows

package corral

import (
	"os"
	"syscall"
)

// Nothing is known here that could hold a run: Start returns a ContainmentError.
var ladder []mechanism

func signalOf(int) os.Signal { return os.Kill }

func endedBy(*os.ProcessState) string { return "" }

func openNull(int) (*os.File, error) { return nil, nil }

func isBrokenPipe(error) bool { return false }

func peakMemory(*os.ProcessState) int64 { return 0 }

func leavesSession(*syscall.SysProcAttr) bool { return false }
