//go:build unix

package corral

import (
	"errors"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// resume makes stopped members run again.
var resume os.Signal = syscall.SIGCONT

// noSignal only asks whether a signal could be sent.
var noSignal os.Signal = syscall.Signal(0)

func signalName(sig os.Signal) string {
	if s, ok := sig.(syscall.Signal); ok {
		if name := unix.SignalName(s); name != "" {
			return name
		}
	}
	return sig.String()
}

// endedBy is the name of the signal that ended the process, or empty.
func endedBy(state *os.ProcessState) string {
	if status, ok := state.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return signalName(status.Signal())
	}
	return ""
}

func isBrokenPipe(err error) bool { return errors.Is(err, syscall.EPIPE) }

// peakMemory is the largest resident size of the process and of those it has
// waited for, in bytes.
func peakMemory(state *os.ProcessState) int64 {
	if usage, ok := state.SysUsage().(*syscall.Rusage); ok {
		return int64(usage.Maxrss) * maxrssUnit
	}
	return 0
}
