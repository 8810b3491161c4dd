package helper

import (
	"iter"
	"os"
	"runtime"
	"time"
	"unsafe"

	"github.com/corral-run/corral/internal/trust"

	"golang.org/x/sys/unix"
)

// setName makes the role the process's name, which identifies it while it ends.
func setName(role string) {
	name, _ := unix.BytePtrFromString(role)
	unix.Prctl(unix.PR_SET_NAME, uintptr(unsafe.Pointer(name)), 0, 0, 0)
}

func distrusted() error { return trust.Process() }

func mixedIDs() error { return trust.IDs() }

func sameProgram(pid int) bool { return trust.SameProgram(pid) }

// peerOf returns who has made the line.
func peerOf(line int) (pid, uid int, err error) {
	peer, err := unix.GetsockoptUcred(line, unix.SOL_SOCKET, unix.SO_PEERCRED)
	if err != nil {
		return 0, 0, os.NewSyscallError("getsockopt SO_PEERCRED", err)
	}
	return int(peer.Pid), int(peer.Uid), nil
}

// Owner is the owner as its helper sees it.
type Owner struct{ trust.Owner }

func verifyOwner(line int, named bool) (Owner, error) {
	o, err := trust.VerifyOwner(line, named)
	return Owner{o}, err
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

// files is how many descriptors are enough for a helper.
const files = 1024

// LiftFileLimit raises, as far as it may, a limit of descriptors that somebody may
// have set for this process (prlimit(2)). A limit of processor time cannot be
// raised in time.
func LiftFileLimit() {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil || limit.Cur >= files {
		return
	}
	if unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: files, Max: max(files, limit.Max)}) != nil {
		unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: limit.Max, Max: limit.Max})
	}
}

// MakeRoom makes room for descriptors, as many as LiftFileLimit asks for. A process
// with threads waits for an RCU grace period each time that its table grows
// (expand_fdtable in fs/file.c), and members that fork all the time make that last
// for seconds.
func MakeRoom() {
	const usual = 64
	for room := files; room > usual; room /= 2 { // the limit may be lower
		if fd, err := unix.FcntlInt(0, unix.F_DUPFD_CLOEXEC, room-1); err == nil {
			unix.Close(fd)
			return
		}
	}
}

// Hurry gives the calling thread, and those that it creates, priority if it may
// (CAP_SYS_NICE), and short turns. It is for a helper that members may keep from its
// work: as one of a hundred that fork and end all the time it gets a hundredth of the
// processors, and they fill the table of processes meanwhile.
func Hurry() {
	const most = -20
	unix.Setpriority(unix.PRIO_PROCESS, 0, most)
	takeShortTurns()
	// Where sessions are scheduled as one (sched(7)), so is this process's, if that is
	// its own. Somebody else's session keeps its priority.
	if session, err := unix.Getsid(0); err == nil && session == os.Getpid() {
		os.WriteFile("/proc/self/autogroup", []byte("-20"), 0)
	}
}

// takeShortTurns has the scheduler give the calling thread short turns, and so have
// it come soon after it has waited (EEVDF). Processes that fork and end all the time
// begin with short ones. That takes no permission, and Linux 6.12: before, the kernel
// ignores it.
func takeShortTurns() {
	if runtime.GOOS == "android" {
		return // which ends a process for a system call that it does not know
	}
	attr, err := unix.SchedGetAttr(0, 0)
	if err != nil {
		return
	}
	const least = 100 * time.Microsecond // that the kernel grants
	attr.Flags, attr.Runtime = unix.SCHED_FLAG_KEEP_POLICY, uint64(least)
	unix.SchedSetAttr(0, attr, 0)
}

func socketpair() ([2]int, error) {
	return unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
}

const receiveClosedOnExec = unix.MSG_CMSG_CLOEXEC

// mayBeOpen yields the descriptors that are open.
func mayBeOpen() iter.Seq[int] { return listed("/proc/self/fd") }
