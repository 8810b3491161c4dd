package procctl

import (
	"os"
	"strconv"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Requests.
const (
	reapAcquire  = 2
	reapStatus   = 4
	reapGetPIDs  = 5
	reapKill     = 6
	pdeathsigCtl = 11
)

// pidList is struct procctl_reaper_pids.
type pidList struct {
	count uint32
	_     [15]uint32
	pids  *pidInfo
}

const (
	_ = uint(unsafe.Sizeof(pidList{})) - 64 - uint(unsafe.Sizeof(uintptr(0)))
	_ = 64 + uint(unsafe.Sizeof(uintptr(0))) - uint(unsafe.Sizeof(pidList{}))
	_ = uint(unsafe.Offsetof(pidList{}.pids)) - 64
	_ = 64 - uint(unsafe.Offsetof(pidList{}.pids))
)

// self is the calling process: "id zero is a shortcut" (procctl(2)).
const self = 0

// call is procctl(2) for the process id.
func call(id, request int, data unsafe.Pointer) error {
	const byPID = 0 // P_PID, sys/wait.h
	var errno syscall.Errno
	if strconv.IntSize == 64 {
		_, _, errno = unix.Syscall6(unix.SYS_PROCCTL, byPID, uintptr(id), uintptr(request), uintptr(data), 0, 0)
	} else { // the ID is a 64-bit number
		_, _, errno = unix.Syscall6(unix.SYS_PROCCTL, byPID, uintptr(id), 0, uintptr(request), uintptr(data), 0)
	}
	if errno != 0 {
		return os.NewSyscallError("procctl", errno)
	}
	return nil
}

// SetParentDeathSignal has the kernel send sig to the calling process when its
// parent ends.
func SetParentDeathSignal(sig syscall.Signal) error {
	number := int32(sig)
	return call(self, pdeathsigCtl, unsafe.Pointer(&number))
}

// Acquire makes the calling process a reaper: a process that it or a descendant
// forks from now on becomes its child when the parent ends. The error is EBUSY if
// it is a reaper already.
func Acquire() error { return call(self, reapAcquire, nil) }

// Sweep calls reap for the children of the calling process, a reaper, but for
// spare. It returns how many processes are below it then: spare and zombies count
// until they have been reaped, those below another reaper do not count. While one
// of those lives, that reaper lives too, or has left them to this one.
func Sweep(spare int, reap func(pid int) bool) (left int, err error) {
	return sweep(system{}, self, spare, reap)
}

// Descendants returns the PIDs of all processes below the reaper id. It includes
// zombies, and those below other reapers. The error is ESRCH if there is no such
// process, or if it is no reaper.
func Descendants(id int) ([]int, error) { return descendants(system{}, id) }

// Kill sends sig to all processes below the calling one, a reaper, and to those
// that they are forking. It includes those below other reapers. The error is ESRCH
// if there is none, and EPERM if it may signal none.
func Kill(sig syscall.Signal) error {
	return call(self, reapKill, unsafe.Pointer(&killing{signal: int32(sig)}))
}

type system struct{}

func (system) status(id int) (s status, err error) {
	err = call(id, reapStatus, unsafe.Pointer(&s))
	return s, err
}

func (system) pids(id int, list []pidInfo) error {
	return call(id, reapGetPIDs, unsafe.Pointer(&pidList{count: uint32(len(list)), pids: &list[0]}))
}
