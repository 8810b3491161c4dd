//go:build unix

package corral

import (
	"errors"
	"os"
	"syscall"

	"github.com/corral-run/corral/internal/stop"
)

// signalOf is the signal of a number.
func signalOf(n int) os.Signal { return syscall.Signal(n) }

// endedBy is the name of the signal that ended the process, or empty.
func endedBy(state *os.ProcessState) string {
	if status, ok := state.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return stop.SignalName(status.Signal())
	}
	return ""
}

// openNull opens the null device without asking whether it can be polled.
func openNull(flag int) (*os.File, error) {
	for {
		fd, err := syscall.Open(os.DevNull, flag|syscall.O_CLOEXEC, 0)
		switch err {
		case nil:
			return os.NewFile(uintptr(fd), os.DevNull), nil
		case syscall.EINTR:
		default:
			return nil, &os.PathError{Op: "open", Path: os.DevNull, Err: err}
		}
	}
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

// leavesSession reports whether the command becomes the leader of its own session.
func leavesSession(attr *syscall.SysProcAttr) bool { return attr != nil && attr.Setsid }
