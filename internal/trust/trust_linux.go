// Package trust decides whether a process may be a helper, and for whom. It imports
// little, so that a helper can ask before most packages are initialised.
package trust

import (
	"errors"
	"strconv"
	"syscall"
	"unsafe"
)

// ErrMixedIDs says that a process can change between ids.
var ErrMixedIDs = errors.New("the real, effective and saved user or group ids differ, so a helper would not trust this process: make them equal first")

// getAuxv returns pairs of a key and a value, which the kernel gave to the program
// (getauxval(3)).
//
//go:linkname getAuxv runtime.getAuxv
func getAuxv() []uintptr

// Process returns why the kernel, or whoever looks at the ids, would not trust this
// process with what its parent hands to it: it may have rights that the parent does
// not have.
func Process() error {
	const secure = 23 // AT_SECURE: set-user-ID, set-group-ID, file capabilities, a security module
	pairs := getAuxv()
	for i := 0; i+1 < len(pairs); i += 2 {
		if pairs[i] == secure && pairs[i+1] != 0 {
			return errors.New("the program has been started with rights that its parent does not have (AT_SECURE)")
		}
	}
	return IDs()
}

// IDs returns an error if this process can change between ids.
func IDs() error {
	for _, number := range [...]uintptr{getresuid, getresgid} {
		var ids [3]uint32
		syscall.RawSyscall(number, uintptr(unsafe.Pointer(&ids[0])), uintptr(unsafe.Pointer(&ids[1])), uintptr(unsafe.Pointer(&ids[2])))
		if ids[0] != ids[1] || ids[0] != ids[2] {
			return ErrMixedIDs
		}
	}
	return nil
}

// Owner is the owner as its helper sees it. The end of the line says that it is
// gone. But another process may have a copy of the owner's end: one that the owner
// has forked and that has not executed anything yet, or one that has taken it. So
// the helper also watches the process.
type Owner struct {
	PID   int // 0 if it is outside the helper's PID namespace
	PidFD int // a pidfd, -1 if there is none
}

// Gone reports whether the owner has certainly ended: a child has another parent
// then. It needs no descriptor.
func (o Owner) Gone() bool { return syscall.Getppid() != o.PID }

// VerifyOwner returns the owner: the process at the other end of the line. It must
// have the same ids, this process must be its child, or have been until the owner
// ended, and it must run the same program, unless it has named this one by
// HelperPath.
func VerifyOwner(line int, named bool) (Owner, error) {
	o := Owner{PidFD: -1}
	peer, err := syscall.GetsockoptUcred(line, syscall.SOL_SOCKET, syscall.SO_PEERCRED)
	if err != nil {
		return o, errors.New("getsockopt SO_PEERCRED: " + err.Error())
	}
	if int(peer.Uid) != syscall.Geteuid() || int(peer.Gid) != syscall.Getegid() {
		return o, errors.New("the owner has other ids: user " + strconv.Itoa(int(peer.Uid)) + ", group " + strconv.Itoa(int(peer.Gid)))
	}
	o.PID = int(peer.Pid)
	const peerPidFD = 77 // SO_PEERPIDFD, Linux 6.5
	if o.PidFD, err = syscall.GetsockoptInt(line, syscall.SOL_SOCKET, peerPidFD); err == nil {
		syscall.CloseOnExec(o.PidFD)
	} else if o.PidFD = -1; o.PID > 0 {
		o.PidFD = openPidFD(o.PID)
	}
	if o.Gone() {
		if !o.ended(line) {
			return o, errors.New("its parent is process " + strconv.Itoa(syscall.Getppid()) + ", not the owner, " + strconv.Itoa(o.PID))
		}
		return o, nil
	}
	if !named && o.PID > 0 && !SameProgram(o.PID) {
		return o, errors.New("the owner, process " + strconv.Itoa(o.PID) + ", runs another program, and has not named this one by HelperPath")
	}
	return o, nil
}

func openPidFD(pid int) int {
	const pidfdOpen = 434 // pidfd_open(2)
	fd, _, errno := syscall.RawSyscall(pidfdOpen, uintptr(pid), 0, 0)
	if errno != 0 {
		return -1
	}
	return int(fd)
}

// ended reports whether the owner has ended, or the other end of the line is
// closed.
func (o Owner) ended(line int) bool {
	if o.PidFD < 0 && o.PID > 1 && syscall.Kill(o.PID, 0) == syscall.ESRCH {
		return true
	}
	fds := [2]struct {
		fd              int32
		events, revents int16
	}{{fd: int32(line)}, {fd: int32(o.PidFD), events: 1}} // POLLIN
	var now syscall.Timespec
	for {
		n, _, errno := syscall.RawSyscall6(syscall.SYS_PPOLL, uintptr(unsafe.Pointer(&fds)), uintptr(len(fds)), uintptr(unsafe.Pointer(&now)), 0, 0, 0)
		if errno != syscall.EINTR {
			return int(n) > 0
		}
	}
}

// SameProgram reports whether the process runs the same program. It is true if
// nobody can tell.
func SameProgram(pid int) bool {
	var own, theirs syscall.Stat_t
	if syscall.Stat("/proc/self/exe", &own) != nil || syscall.Stat("/proc/"+strconv.Itoa(pid)+"/exe", &theirs) != nil {
		return true
	}
	return own.Dev == theirs.Dev && own.Ino == theirs.Ino
}
