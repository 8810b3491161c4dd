package helper

import (
	"errors"
	"fmt"
	"iter"
	"os"
	"strconv"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// setName makes the role the process's name, which identifies it while it ends.
func setName(role string) {
	name, _ := unix.BytePtrFromString(role)
	unix.Prctl(unix.PR_SET_NAME, uintptr(unsafe.Pointer(name)), 0, 0, 0)
}

// distrusted returns why the kernel, or whoever looks at the ids, would not trust
// this process with what its parent hands to it: it may have rights that the parent
// does not have.
func distrusted() error {
	const atSecure = 23 // AT_SECURE, getauxval(3): set-user-ID, set-group-ID, file capabilities, a security module
	values, _ := unix.Auxv()
	for _, v := range values {
		if v[0] == atSecure && v[1] != 0 {
			return errors.New("the program has been started with rights that its parent does not have (AT_SECURE)")
		}
	}
	return mixedIDs()
}

// mixedIDs returns an error if this process can change between ids.
func mixedIDs() error {
	ruid, euid, suid := unix.Getresuid()
	rgid, egid, sgid := unix.Getresgid()
	if ruid != euid || ruid != suid || rgid != egid || rgid != sgid {
		return errMixedIDs
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
func (o Owner) Gone() bool { return os.Getppid() != o.PID }

// verifyOwner returns the owner: the process at the other end of the line. It must
// have the same ids, this process must be its child, or have been until the owner
// ended, and it must run the same program, unless it has named this one by
// HelperPath.
func verifyOwner(line int, named bool) (Owner, error) {
	o := Owner{PidFD: -1}
	peer, err := unix.GetsockoptUcred(line, unix.SOL_SOCKET, unix.SO_PEERCRED)
	if err != nil {
		return o, os.NewSyscallError("getsockopt SO_PEERCRED", err)
	}
	if int(peer.Uid) != os.Geteuid() || int(peer.Gid) != os.Getegid() {
		return o, fmt.Errorf("the owner has other ids: user %d, group %d", peer.Uid, peer.Gid)
	}
	o.PID = int(peer.Pid)
	if o.PidFD, err = unix.GetsockoptInt(line, unix.SOL_SOCKET, unix.SO_PEERPIDFD); err != nil {
		o.PidFD = -1 // Linux before 6.5
		if o.PID > 0 {
			if fd, err := unix.PidfdOpen(o.PID, 0); err == nil {
				o.PidFD = fd
			}
		}
	} else {
		unix.CloseOnExec(o.PidFD)
	}
	if o.Gone() {
		if !o.ended(line) {
			return o, fmt.Errorf("its parent is process %d, not the owner, %d", os.Getppid(), o.PID)
		}
		return o, nil
	}
	if !named && o.PID > 0 && !sameProgram(o.PID) {
		return o, fmt.Errorf("the owner, process %d, runs another program, and has not named this one by HelperPath", o.PID)
	}
	return o, nil
}

// ended reports whether the owner has ended, or the other end of the line is
// closed.
func (o Owner) ended(line int) bool {
	if o.PidFD < 0 && o.PID > 1 && unix.Kill(o.PID, 0) == unix.ESRCH {
		return true
	}
	fds := []unix.PollFd{{Fd: int32(line)}, {Fd: int32(o.PidFD), Events: unix.POLLIN}}
	for {
		n, err := unix.Poll(fds, 0)
		if err != unix.EINTR {
			return n > 0
		}
	}
}

// sameProgram reports whether the process runs the same program. It is true if
// nobody can tell.
func sameProgram(pid int) bool {
	var own, theirs unix.Stat_t
	if unix.Stat("/proc/self/exe", &own) != nil || unix.Stat("/proc/"+strconv.Itoa(pid)+"/exe", &theirs) != nil {
		return true
	}
	return own.Dev == theirs.Dev && own.Ino == theirs.Ino
}

// protect keeps others of the same user from taking this process over: they cannot
// trace it, take its descriptors (pidfd_getfd(2)), or read its memory. They can
// stop it while the owner lives; when the owner dies, the kernel wakes it.
func protect() {
	SetDumpable(false)
	unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGCONT), 0, 0, 0)
}

// SetDumpable says whether others of the same user may trace this process, and own
// its files in /proc.
func SetDumpable(on bool) {
	var value uintptr
	if on {
		value = 1
	}
	unix.Prctl(unix.PR_SET_DUMPABLE, value, 0, 0, 0)
}

// Await returns when the owner is gone or has closed the line.
func (o Owner) Await(line int) {
	fds := []unix.PollFd{{Fd: int32(line), Events: unix.POLLIN}, {Fd: int32(o.PidFD), Events: unix.POLLIN}}
	for !o.Gone() {
		n, err := unix.Ppoll(fds, nil, nil)
		switch {
		case err == unix.EINTR:
		case err != nil:
			if ready, eof := PeekLine(line, time.Second); eof {
				return
			} else if ready {
				unix.Read(line, make([]byte, 64))
			}
		case n > 0 && fds[1].Revents != 0:
			return
		case n > 0:
			if n, err := unix.Read(line, make([]byte, 64)); n == 0 || err != nil && err != unix.EINTR {
				return
			}
		}
	}
}

// PeekLine waits for the line where poll(2) fails. It fails if a policy forbids it,
// or if it is asked about more descriptors than the limit allows; others of the
// same user can lower that (prlimit(2)). A signal ends the wait.
func PeekLine(line int, limit time.Duration) (ready, eof bool) {
	timeout := unix.NsecToTimeval(int64(max(limit, time.Millisecond)))
	unix.SetsockoptTimeval(line, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &timeout)
	n, _, err := unix.Recvfrom(line, make([]byte, 1), unix.MSG_PEEK)
	switch {
	case err == unix.EINTR, err == unix.EAGAIN:
		return false, false
	case err == unix.ECONNRESET:
		return false, true
	case err != nil:
		time.Sleep(limit) // no memory
		return false, false
	}
	return n > 0, n == 0
}

// yieldProcessor lets another thread run, and keeps Go's processor.
func yieldProcessor() { unix.RawSyscall(unix.SYS_SCHED_YIELD, 0, 0, 0) }

// LiftFileLimit raises, as far as it may, a limit of descriptors that somebody may
// have set for this process (prlimit(2)). A limit of processor time cannot be
// raised in time.
func LiftFileLimit() {
	const enough = 1024
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil || limit.Cur >= enough {
		return
	}
	if unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: enough, Max: max(enough, limit.Max)}) != nil {
		unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: limit.Max, Max: limit.Max})
	}
}

func socketpair() ([2]int, error) {
	return unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
}

const receiveClosedOnExec = unix.MSG_CMSG_CLOEXEC

// mayBeOpen yields the descriptors that are open.
func mayBeOpen() iter.Seq[int] { return listed("/proc/self/fd") }
