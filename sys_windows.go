package corral

import (
	"errors"
	"os"
	"syscall"

	"golang.org/x/sys/windows"
)

func signalOf(n int) os.Signal { return syscall.Signal(n) }

func endedBy(*os.ProcessState) string { return "" } // exit codes tell it all

func openNull(int) (*os.File, error) { return nil, nil } // os/exec does it

func isBrokenPipe(err error) bool {
	return errors.Is(err, windows.ERROR_BROKEN_PIPE) || errors.Is(err, windows.ERROR_NO_DATA)
}

func peakMemory(*os.ProcessState) int64 { return 0 } // the job's accounting tells

// leavesSession reports whether the command is detached from the owner's console.
func leavesSession(attr *syscall.SysProcAttr) bool {
	return attr != nil && attr.CreationFlags&windows.DETACHED_PROCESS != 0
}
