//go:build amd64 || arm64

package stub

import (
	"bytes"
	"errors"
	"os"
	"runtime"
	"strconv"
	"sync"
	"syscall"

	"github.com/corral-run/corral/internal/helper"
	"github.com/corral-run/corral/internal/stop"
	"github.com/corral-run/corral/internal/stub/bare"
	"golang.org/x/sys/unix"
)

// Suits reports whether a stub can start a leader with these attributes, and can
// keep to the plan.
func Suits(a *syscall.SysProcAttr, plan stop.Plan) bool {
	if len(plan) > bare.MaxSteps || a.Foreground || a.Ptrace || a.UseCgroupFD || a.Cloneflags != 0 || a.Unshareflags != 0 {
		return false
	}
	return len(a.AmbientCaps) == 0 && len(a.UidMappings) == 0 && len(a.GidMappings) == 0
}

// Usable returns why there can be no stub now, or nil if there can.
//
// A fork copies the tables of the owner's memory, page by page, and the owner then
// copies each page that it writes to. So a stub is for owners that have little.
func Usable() error {
	err := Possible()
	switch how := os.Getenv(Switch); {
	case err != nil || how == "always":
		return err
	case how == "early":
		return errors.New("not wanted, by " + Switch)
	}
	pages, err := ownPages()
	if err != nil {
		return err
	}
	const most = 16 << 20
	if pages*os.Getpagesize() > most {
		return errors.New("this process has too much memory to be forked quickly")
	}
	return nil
}

// Possible returns why this process can have no stubs, whatever its memory, or nil
// if it can.
func Possible() error {
	if os.Getenv(Switch) == "off" {
		return errors.New("switched off by " + Switch)
	}
	return supported()
}

// supported returns whether the kernel has what a stub needs.
var supported = sync.OnceValue(func() error {
	if runtime.GOOS == "android" { // which ends a process for a system call that it does not know
		return errors.ErrUnsupported
	}
	fd, err := unix.PidfdOpen(os.Getpid(), 0)
	if err != nil {
		return os.NewSyscallError("pidfd_open", err)
	}
	err = unix.PidfdSendSignal(fd, 0, nil, 0)
	unix.Close(fd)
	if err != nil {
		return os.NewSyscallError("pidfd_send_signal", err)
	}
	const none = 1<<31 - 1
	if err := unix.CloseRange(none, none, 0); err != nil {
		return os.NewSyscallError("close_range", err)
	}
	if _, err := os.Stat("/proc/thread-self/children"); err != nil {
		return err
	}
	return nil
})

// ownPages returns how many pages of its own this process has in memory.
func ownPages() (int, error) {
	fd, err := unix.Open("/proc/self/statm", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return 0, os.NewSyscallError("open", err)
	}
	defer unix.Close(fd)
	var text [128]byte
	n, err := unix.Read(fd, text[:])
	if err != nil {
		return 0, os.NewSyscallError("read", err)
	}
	fields := bytes.Fields(text[:n])
	if len(fields) < 3 {
		return 0, errors.New("/proc/self/statm: too few numbers")
	}
	resident, err := strconv.Atoi(string(fields[1]))
	if err != nil {
		return 0, err
	}
	shared, err := strconv.Atoi(string(fields[2]))
	return resident - shared, err
}

// Identity returns who a stub is.
func Identity(title string, line int) bare.Identity {
	return bare.Identity{Line: line, Title: title, Owner: os.Getpid(), Arguments: arguments()}
}

// Start forks a keeper and returns its PID.
func Start(s *bare.Spec) (pid int, err error) {
	pid, errno := bare.Start(s)
	if errno != 0 {
		return 0, os.NewSyscallError("fork", errno)
	}
	return pid, nil
}

// Message returns what an early keeper is sent: head, then as many descriptors,
// then body.
func Message(s *bare.Spec, files int) (head, body []byte, err error) {
	var ignored uint64
	for _, sig := range helper.IgnoredSignals() {
		ignored |= 1 << (sig - 1)
	}
	head, body, errno := s.Message(files, ignored)
	if errno != 0 {
		return nil, nil, os.NewSyscallError("mmap", errno)
	}
	return head, body, nil
}

// StartGuard forks a guard and returns its PID.
func StartGuard(s *bare.GuardSpec) (pid int, err error) {
	pid, errno := bare.StartGuard(s)
	if errno != 0 {
		return 0, os.NewSyscallError("fork", errno)
	}
	return pid, nil
}

// arguments returns where this process's arguments begin and end in its memory, or
// zeros.
var arguments = sync.OnceValue(func() (area [2]uintptr) {
	text, err := os.ReadFile("/proc/self/stat")
	if err != nil {
		return area
	}
	const first = 48 - 3 // arg_start, counted from the state (proc_pid_stat(5))
	fields := bytes.Fields(text[bytes.LastIndexByte(text, ')')+1:])
	if len(fields) < first+2 {
		return area
	}
	for i := range area {
		n, err := strconv.ParseUint(string(fields[first+i]), 10, 64)
		if err != nil {
			return [2]uintptr{}
		}
		area[i] = uintptr(n)
	}
	return area
})
