//go:build unix

package stop

import (
	"os"
	"runtime"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// resume makes stopped members run again.
var resume os.Signal = syscall.SIGCONT

// noSignal only asks whether a signal could be sent.
var noSignal os.Signal = syscall.Signal(0)

// mayBeDenied reports whether the process that has the PID cannot be signalled for
// want of permission. It may be another one by now, which gets no signal from this.
func mayBeDenied(pid int) bool { return pid > 1 && unix.Kill(pid, 0) == unix.EPERM }

// Exists reports whether the system has the signal. What it does not have cannot be sent,
// and a plan that begins with it would come to the kill at once.
func Exists(sig os.Signal) bool {
	s, ok := sig.(syscall.Signal)
	return ok && 0 <= s && s <= lastSignal()
}

// lastSignal is the highest number, of any kernel where it is not known.
func lastSignal() syscall.Signal {
	switch {
	case strings.HasPrefix(runtime.GOARCH, "mips"):
		return 127 // _NSIG - 1
	case runtime.GOOS == "linux", runtime.GOOS == "android":
		return 64
	case runtime.GOOS == "darwin", runtime.GOOS == "ios":
		return 31
	case runtime.GOOS == "freebsd":
		return 126 // SIGRTMAX
	}
	return 255
}

// SignalName is the signal's name, such as "SIGTERM".
func SignalName(sig os.Signal) string {
	if s, ok := sig.(syscall.Signal); ok {
		if name := unix.SignalName(s); name != "" {
			return name
		}
	}
	return sig.String()
}
