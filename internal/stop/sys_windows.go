package stop

import (
	"os"
	"syscall"
)

var resume os.Signal // nothing is ever stopped here

// noSignal only asks whether a signal could be sent.
var noSignal os.Signal = syscall.Signal(0)

func mayBeDenied(int) bool { return true } // only maySignal tells

// Names are those of the signals that have a meaning in a stop plan here: see
// corral.StopStep, and what package hold/job makes of them.
var Names = map[syscall.Signal]string{
	syscall.SIGHUP:  "SIGHUP",
	syscall.SIGINT:  "SIGINT",
	syscall.SIGTERM: "SIGTERM",
	syscall.SIGKILL: "SIGKILL",
}

// SignalName is the signal's name, such as "SIGTERM".
func SignalName(sig os.Signal) string {
	if s, ok := sig.(syscall.Signal); ok && Names[s] != "" {
		return Names[s]
	}
	return sig.String()
}

// Exists: a signal that means nothing here makes a step that is over at once, which is
// reported.
func Exists(os.Signal) bool { return true }
