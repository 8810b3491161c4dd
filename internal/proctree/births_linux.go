package proctree

import (
	"bytes"
	"strconv"

	"golang.org/x/sys/unix"
)

// Births returns a number that changes when a process or thread is born in the PID
// namespace of the caller or below it, or 0 if there is none to be had. So whoever
// gets the same number twice knows that nobody has been born meanwhile. (Those are
// not counted that a privileged process starts with a PID of its choice: clone3(2),
// set_tid.)
//
// It is the PID that has been given out last: see /proc/loadavg in proc(5).
func Births() int {
	proc, err := openProc()
	if err != nil {
		return 0
	}
	defer proc.close()
	fd, err := unix.Openat(proc.fd, "loadavg", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return 0
	}
	defer unix.Close(fd)
	// Container managers mount files of their own over this one.
	var st unix.Stat_t
	if unix.Fstat(fd, &st) != nil || uint64(st.Dev) != procDevice.Load() {
		return 0
	}
	var b [128]byte
	n, err := unix.Pread(fd, b[:], 0)
	if err != nil {
		return 0
	}
	text := bytes.TrimSpace(b[:n])
	last, err := strconv.Atoi(string(text[bytes.LastIndexByte(text, ' ')+1:]))
	if err != nil {
		return 0
	}
	return max(0, last) // gVisor says 0
}
