package corraltest

import (
	"os"
	"strings"
)

// traced reports whether a debugger traces this process.
func traced() bool {
	status, _ := os.ReadFile("/proc/self/status")
	_, rest, _ := strings.Cut(string(status), "\nTracerPid:\t")
	pid, _, _ := strings.Cut(rest, "\n")
	return pid != "" && pid != "0"
}
