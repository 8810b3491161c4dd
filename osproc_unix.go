//go:build linux || darwin || freebsd

package corral

import (
	"os"
	"reflect"
	"sync"
	"sync/atomic"
	"syscall"
	"unsafe"
)

// The leader under a keeper is not the owner's child, so package os has no way
// to learn how it has ended. What follows tells it, after making sure that its
// types look as they are known to.

var (
	processState = field[atomic.Uint32](reflect.TypeFor[os.Process](), "state")
	processMutex = field[sync.RWMutex](reflect.TypeFor[os.Process](), "sigMu")
	statePID     = field[int](reflect.TypeFor[os.ProcessState](), "pid")
	stateStatus  = field[syscall.WaitStatus](reflect.TypeFor[os.ProcessState](), "status")
	stateRusage  = field[*syscall.Rusage](reflect.TypeFor[os.ProcessState](), "rusage")

	processKnown = processState != nil && processMutex != nil
	stateKnown   = statePID != nil && stateStatus != nil && stateRusage != nil
)

// field returns access to the field called name of the struct type t, or nil if
// there is none of type T.
func field[T any](t reflect.Type, name string) func(unsafe.Pointer) *T {
	f, ok := t.FieldByName(name)
	if !ok || f.Type != reflect.TypeFor[T]() {
		return nil
	}
	return func(p unsafe.Pointer) *T { return (*T)(unsafe.Add(p, f.Offset)) }
}

// foreignProcess returns the process with the given PID, which somebody else
// keeps from being reaped. It needs no descriptor, which only a Wait that cannot
// be called for it would release.
func foreignProcess(pid int) (*os.Process, error) {
	if !processKnown {
		return os.FindProcess(pid)
	}
	return &os.Process{Pid: pid}, nil
}

// markDone makes p's methods return os.ErrProcessDone, as after Wait. It is
// called while the PID is still the process's.
func markDone(p *os.Process) {
	if !processKnown {
		return
	}
	const done = 1 // os.statusDone
	processState(unsafe.Pointer(p)).CompareAndSwap(0, done)
	// Who is about to signal the PID has done so when the lock is free.
	mu := processMutex(unsafe.Pointer(p))
	mu.Lock()
	mu.Unlock() //lint:ignore SA2001 as os.Process.Wait does it
}

// stateOf returns what os.Process.Wait would have returned, or instead if that
// cannot be made.
func stateOf(pid int, status syscall.WaitStatus, rusage *syscall.Rusage, instead *os.ProcessState) *os.ProcessState {
	if !stateKnown {
		return instead
	}
	s := new(os.ProcessState)
	*statePID(unsafe.Pointer(s)) = pid
	*stateStatus(unsafe.Pointer(s)) = status
	*stateRusage(unsafe.Pointer(s)) = rusage
	return s
}
