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
	return proc.births()
}

func (proc *procfs) births() int {
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

// givenOut returns the numbers that have been given out between two results of
// births, after some from before, in their order; or reports that these are too many,
// or not known.
func (proc *procfs) givenOut(before, now, some int) (pids []int, ok bool) {
	const (
		most = 1 << 15
		low  = 300 // where the numbers begin again, at the latest: RESERVED_PIDS in the kernel's pid.c
	)
	largest := 0
	if now < before || before < low+some {
		if largest = proc.largestPID(); largest < max(before, now) {
			return nil, false
		}
	}
	add := func(first, last int) {
		for pid := max(1, first); pid <= last && len(pids) <= most; pid++ {
			pids = append(pids, pid)
		}
	}
	if now < before { // they have begun again meanwhile
		add(before-some+1, largest)
		add(1, now)
		return pids, len(pids) <= most
	}
	if before < low+some { // or just before
		add(largest-some+1, largest)
	}
	add(before-some+1, now)
	return pids, len(pids) <= most
}

// largestPID returns the largest PID that there can be, or 0.
func (proc *procfs) largestPID() int {
	fd, err := unix.Openat(proc.fd, "sys/kernel/pid_max", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return 0
	}
	defer unix.Close(fd)
	var b [32]byte
	n, err := unix.Pread(fd, b[:], 0)
	if err != nil {
		return 0
	}
	most, err := strconv.Atoi(string(bytes.TrimSpace(b[:n])))
	if err != nil {
		return 0
	}
	return most - 1
}
