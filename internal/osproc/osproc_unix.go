//go:build unix

package osproc

import (
	"os"
	"os/exec"
	"reflect"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"unsafe"
)

// The leader under a keeper is not the owner's child, so package os cannot learn
// how it has ended. This file tells it, once it has checked that the types of
// package os have the fields that it knows.

var (
	processState = field[atomic.Uint32](reflect.TypeFor[os.Process](), "state")
	processMutex = field[sync.RWMutex](reflect.TypeFor[os.Process](), "sigMu")
	statePID     = field[int](reflect.TypeFor[os.ProcessState](), "pid")
	stateStatus  = field[syscall.WaitStatus](reflect.TypeFor[os.ProcessState](), "status")
	stateRusage  = field[*syscall.Rusage](reflect.TypeFor[os.ProcessState](), "rusage")

	// CanMarkDone says that MarkDone works with this version of Go.
	CanMarkDone = processState != nil && processMutex != nil

	// The handle is a pidfd with a count of its users: see os.processHandle.
	processHandle  = pointer(reflect.TypeFor[os.Process](), "handle")
	processCleanup = field[runtime.Cleanup](reflect.TypeFor[os.Process](), "cleanup")
	handleNumber   = fieldBehind[uintptr](reflect.TypeFor[os.Process](), "handle", "handle")
	handleUsers    = fieldBehind[atomic.Int32](reflect.TypeFor[os.Process](), "handle", "refs")

	handleKnown = CanMarkDone && processHandle != nil && processCleanup != nil && handleNumber != nil && handleUsers != nil
	stateKnown  = statePID != nil && stateStatus != nil && stateRusage != nil
)

// field returns access to the field called name of the struct type t, or nil if t
// has no such field of type T.
func field[T any](t reflect.Type, name string) func(unsafe.Pointer) *T {
	f, ok := t.FieldByName(name)
	if !ok || f.Type != reflect.TypeFor[T]() {
		return nil
	}
	return func(p unsafe.Pointer) *T { return (*T)(unsafe.Add(p, f.Offset)) }
}

// pointer returns access to the pointer called name of the struct type t, whatever
// its type, or nil if t has no such pointer.
func pointer(t reflect.Type, name string) func(unsafe.Pointer) unsafe.Pointer {
	f, ok := t.FieldByName(name)
	if !ok || f.Type.Kind() != reflect.Pointer {
		return nil
	}
	return func(p unsafe.Pointer) unsafe.Pointer { return *(*unsafe.Pointer)(unsafe.Add(p, f.Offset)) }
}

// fieldBehind is field for the struct that the pointer of t called by points to.
func fieldBehind[T any](t reflect.Type, by, name string) func(unsafe.Pointer) *T {
	f, ok := t.FieldByName(by)
	if !ok || f.Type.Kind() != reflect.Pointer || f.Type.Elem().Kind() != reflect.Struct {
		return nil
	}
	return field[T](f.Type.Elem(), name)
}

// FindForeign returns a process that is not a child, and whose parent does not reap
// it yet. It has a pidfd where os/exec's has one, if MarkDone can release that.
func FindForeign(pid int) (*os.Process, error) {
	if handleKnown || !CanMarkDone {
		return os.FindProcess(pid)
	}
	return &os.Process{Pid: pid}, nil
}

// MarkDone makes p's methods return os.ErrProcessDone, as after Wait. The caller
// makes sure that the PID is still the process's.
func MarkDone(p *os.Process) {
	if !CanMarkDone {
		return
	}
	const done = 1 // os.statusDone
	first := processState(unsafe.Pointer(p)).CompareAndSwap(0, done)
	if handle := handleOf(p); handle != nil {
		if first { // as os.Process.doRelease does it
			processCleanup(unsafe.Pointer(p)).Stop()
			if handleUsers(handle).Add(-1) == 0 {
				syscall.Close(int(*handleNumber(handle)))
			}
		}
		return
	}
	// Whoever is about to signal the PID has done so when the lock is free.
	mu := processMutex(unsafe.Pointer(p))
	mu.Lock()
	mu.Unlock() //lint:ignore SA2001 as os.Process.Wait does it
}

// HasHandle reports whether p has a handle that MarkDone would release.
func HasHandle(p *os.Process) bool { return handleOf(p) != nil }

// handleOf is p's handle, or nil if it has none that MarkDone can release.
func handleOf(p *os.Process) unsafe.Pointer {
	if !handleKnown {
		return nil
	}
	return processHandle(unsafe.Pointer(p))
}

// NewState returns what os.Process.Wait would have returned, or instead if it
// cannot make that.
func NewState(pid int, status syscall.WaitStatus, rusage *syscall.Rusage, instead *os.ProcessState) *os.ProcessState {
	if !stateKnown {
		return instead
	}
	s := new(os.ProcessState)
	*statePID(unsafe.Pointer(s)) = pid
	*stateStatus(unsafe.Pointer(s)) = status
	*stateRusage(unsafe.Pointer(s)) = rusage
	return s
}

// Ended is what os/exec's Wait would have returned of a process that has ended so.
func Ended(pid int, status syscall.WaitStatus, rusage *syscall.Rusage) (*os.ProcessState, error) {
	state := NewState(pid, status, rusage, nil)
	switch {
	case state == nil: // os.ProcessState has other fields than it is known to have
		return nil, syscall.EINVAL
	case !state.Success():
		return state, &exec.ExitError{ProcessState: state}
	}
	return state, nil
}

// Released reports whether Release has been called.
func Released(p *os.Process) bool { return PIDOf(p) == -1 }

// PIDOf is p.Pid. Release sets that to -1 without synchronisation. This reads the
// one number or the other; the race detector, which would blame the caller, must
// not see it.
//
//go:norace
//go:noinline
func PIDOf(p *os.Process) int { return p.Pid }

// Probe has package os find out now whether there are pidfds, as it does when it
// first makes a process. On Linux it starts a child for that, and waits for it. A
// member of the same process group could have that child stopped, and with it the
// owner.
func Probe() { probe() }

var probe = sync.OnceFunc(func() {
	if p, err := os.FindProcess(os.Getpid()); err == nil {
		p.Release()
	}
})
