//go:build !unix && !windows

package corral

import "os"

var resume, noSignal os.Signal // there is nothing to send them to

func signalName(sig os.Signal) string { return sig.String() }

func endedBy(*os.ProcessState) string { return "" }

func isBrokenPipe(error) bool { return false }

func peakMemory(*os.ProcessState) int64 { return 0 }
