//go:build unix

package stop

import (
	"os"
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

// SignalName is the signal's name, such as "SIGTERM".
func SignalName(sig os.Signal) string {
	if s, ok := sig.(syscall.Signal); ok {
		if name := unix.SignalName(s); name != "" {
			return name
		}
	}
	return sig.String()
}
