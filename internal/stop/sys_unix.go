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

// SignalName is the signal's name, such as "SIGTERM".
func SignalName(sig os.Signal) string {
	if s, ok := sig.(syscall.Signal); ok {
		if name := unix.SignalName(s); name != "" {
			return name
		}
	}
	return sig.String()
}
