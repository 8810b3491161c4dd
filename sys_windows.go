package corral

import (
	"errors"
	"os"
	"syscall"

	"golang.org/x/sys/windows"
)

var resume os.Signal // nothing is ever stopped here

// noSignal only asks whether a signal could be sent.
var noSignal os.Signal = syscall.Signal(0)

func signalName(sig os.Signal) string {
	switch sig {
	case syscall.SIGHUP:
		return "SIGHUP"
	case syscall.SIGINT:
		return "SIGINT"
	case syscall.SIGTERM:
		return "SIGTERM"
	case syscall.SIGKILL:
		return "SIGKILL"
	}
	return sig.String()
}

func endedBy(*os.ProcessState) string { return "" } // exit codes tell it all

func isBrokenPipe(err error) bool {
	return errors.Is(err, windows.ERROR_BROKEN_PIPE) || errors.Is(err, windows.ERROR_NO_DATA)
}

func peakMemory(*os.ProcessState) int64 { return 0 } // the job's accounting tells
