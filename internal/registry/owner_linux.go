package registry

import (
	"os"
	"strings"
)

func bootID() string {
	b, _ := os.ReadFile("/proc/sys/kernel/random/boot_id") // without it, start times have to do
	return strings.TrimSpace(string(b))
}

// space names the PID namespace, and the time namespace, which moves the start times
// that one reads: time_namespaces(7).
func space() string {
	pid, _ := os.Readlink("/proc/self/ns/pid")
	time, _ := os.Readlink("/proc/self/ns/time")
	return strings.TrimSpace(pid + " " + time)
}
