package proctree

import (
	"bytes"
	"strconv"
	"strings"
	"time"

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

// AboutToExecute reports whether a process has been forked no longer ago than young,
// and has executed nothing since: then its executable is still that of its parent,
// but may be another one in a moment.
func AboutToExecute(id ID, young time.Duration) bool {
	const tick = time.Second / 100 // USER_HZ, in which the kernel counts for users
	if now := startNow(); now < id.Start || time.Duration(now-id.Start)*tick >= young {
		return false
	}
	b, err := ReadFile(id.PID, "stat")
	if err != nil {
		return false
	}
	const flagsAt, forkedNoExec = 6, 0x40 // after the name in parentheses; PF_FORKNOEXEC in the kernel's sched.h
	fields := bytes.Fields(b[bytes.LastIndexByte(b, ')')+1:])
	if len(fields) <= flagsAt {
		return false
	}
	flags, err := strconv.ParseUint(string(fields[flagsAt]), 10, 64)
	return err == nil && flags&forkedNoExec != 0
}
