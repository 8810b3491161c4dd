package cgroups

import (
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// forkOnly starts a child that ends with the status, and executes nothing.
//
//go:nosplit
//go:norace
func forkOnly(status uintptr) (pid int, errno syscall.Errno) {
	child, _, errno := syscall.RawSyscall6(syscall.SYS_CLONE, uintptr(syscall.SIGCHLD), 0, 0, 0, 0, 0)
	if child == 0 && errno == 0 {
		for {
			syscall.RawSyscall(syscall.SYS_EXIT_GROUP, status, 0, 0)
		}
	}
	return int(child), errno
}

// TestStillbornAsksOnly: a child that has not executed a program is known, and stays
// in its process group.
func TestStillbornAsksOnly(t *testing.T) {
	pid, errno := forkOnly(3)
	if errno != 0 {
		t.Fatal(errno)
	}
	if err := unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil); err != nil {
		t.Fatal(err)
	}
	if !stillborn(pid) {
		t.Error("a child that has executed nothing is taken for one that has")
	}
	if pgid, err := unix.Getpgid(pid); err != nil || pgid != unix.Getpgrp() {
		t.Errorf("the child's group is %d, %v; want %d, as before", pgid, err, unix.Getpgrp())
	}
	var status syscall.WaitStatus
	if _, err := syscall.Wait4(pid, &status, 0, nil); err != nil || status.ExitStatus() != 3 {
		t.Errorf("status %#x, %v; want 3", status, err)
	}
}
