//go:build !unix && !windows

package stop

import (
	"os"
)

var resume, noSignal os.Signal // there is nothing to send them to

func signalName(sig os.Signal) string { return sig.String() }
