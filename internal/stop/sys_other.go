//go:build !unix && !windows

package stop

import (
	"os"
)

var resume, noSignal os.Signal // there is nothing to send them to

func mayBeDenied(int) bool { return true }

// SignalName is the signal's name.
func SignalName(sig os.Signal) string { return sig.String() }

// Exists: a signal that means nothing here makes a step that is over at once, which is
// reported.
func Exists(os.Signal) bool { return true }
