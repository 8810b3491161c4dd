package registry

import (
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

func bootID() string {
	var b [64]byte // it is a UUID
	fd, err := unix.Open("/proc/sys/kernel/random/boot_id", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return "" // start times have to do
	}
	defer unix.Close(fd)
	n, err := unix.Read(fd, b[:])
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b[:n]))
}

// space names the PID namespace, and the time namespace, which moves the start times
// that one reads: time_namespaces(7).
func space() string {
	pid, _ := os.Readlink("/proc/self/ns/pid")
	time, _ := os.Readlink("/proc/self/ns/time")
	return strings.TrimSpace(pid + " " + time)
}
