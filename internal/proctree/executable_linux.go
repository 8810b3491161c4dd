package proctree

import (
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Executable returns the path of the program that a process executes, as the kernel
// has it (proc_pid_exe(5)): nothing that the process says of itself counts, neither
// its arguments nor its name. It is empty if the process has ended, or if it may not
// be asked: one that the kernel keeps from being traced, as ssh-agent makes itself,
// is hidden from its own user, too.
func Executable(id ID) string {
	link := "/proc/" + strconv.Itoa(id.PID) + "/exe"
	b := make([]byte, unix.PathMax)
	n, err := unix.Readlink(link, b)
	if err != nil || n == len(b) {
		return ""
	}
	path := string(b[:n])
	// The kernel adds this to the name of a file that has been removed, such as one
	// that an update has replaced. A file may also be called so.
	if name, ok := strings.CutSuffix(path, " (deleted)"); ok {
		var file unix.Stat_t
		if unix.Stat(link, &file) == nil && file.Nlink == 0 {
			path = name
		}
	}
	if !Same(id) {
		return ""
	}
	return path
}
