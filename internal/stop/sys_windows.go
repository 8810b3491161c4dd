package stop

import (
	"os"
	"syscall"
)

var resume os.Signal // nothing is ever stopped here

// noSignal only asks whether a signal could be sent.
var noSignal os.Signal = syscall.Signal(0)

// SignalName is the signal's name, such as "SIGTERM".
func SignalName(sig os.Signal) string {
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
