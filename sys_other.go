//go:build !unix && !windows

package corral

import "os"

var resume os.Signal // nothing is ever stopped here

func signalName(sig os.Signal) string { return sig.String() }

func endedBy(*os.ProcessState) string { return "" }

func isBrokenPipe(error) bool { return false }

func peakMemory(*os.ProcessState) int64 { return 0 }
