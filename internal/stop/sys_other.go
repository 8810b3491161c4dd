//go:build !unix && !windows

package stop

import (
	"os"
)

var resume, noSignal os.Signal // there is nothing to send them to

func mayBeDenied(int) bool { return true }

// SignalName is the signal's name.
func SignalName(sig os.Signal) string { return sig.String() }
