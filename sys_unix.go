//go:build unix

package corral

import (
	"errors"
	"os"
	"runtime"
	"syscall"

	"github.com/corral-run/corral/internal/stop"
)

// endedBy is the name of the signal that ended the process, or empty.
func endedBy(state *os.ProcessState) string {
	if status, ok := state.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return stop.SignalName(status.Signal())
	}
	return ""
}

func isBrokenPipe(err error) bool { return errors.Is(err, syscall.EPIPE) }

// peakMemory is the largest resident size of the process and of those it has
// waited for, in bytes.
func peakMemory(state *os.ProcessState) int64 {
	usage, ok := state.SysUsage().(*syscall.Rusage)
	switch {
	case !ok:
		return 0
	case runtime.GOOS == "darwin": // getrusage(2) counts bytes there, and kilobytes elsewhere
		return int64(usage.Maxrss)
	}
	return int64(usage.Maxrss) * 1024
}

// leavesSession reports whether the command becomes the leader of its own session.
func leavesSession(attr *syscall.SysProcAttr) bool { return attr != nil && attr.Setsid }
