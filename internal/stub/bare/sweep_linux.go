//go:build amd64 || arm64

package bare

import (
	"syscall"
	"unsafe"

	"github.com/corral-run/corral/internal/wire/code"
)

// tend looks after the run: it takes in who has ended, kills if that is wanted, and
// tells the owner what is new. The run is empty once the leader has ended and sweep
// has found nobody else.
//
//go:norace
//go:nocheckptr
func (b *block) tend() {
	if b.empty {
		return
	}
	b.findOut()
	switch {
	case b.ended && !b.told:
		b.told = true
		b.tellEnd()
	case b.empty:
		b.begin(code.NowEmpty)
		b.send()
	}
}

//go:norace
//go:nocheckptr
func (b *block) findOut() {
	b.more = false
	if !b.ended {
		b.observe()
	}
	if b.ended || b.killing {
		b.empty = b.sweep() == 0 && b.ended
	}
}

// reapedAtATime is how many children are reaped, unless they are being killed,
// before the line is read again: with a small share of the processor, thousands of
// them take many seconds.
const reapedAtATime = 256

// observe reaps orphans until it finds that the leader has ended, or that nobody
// else has.
//
//go:norace
//go:nocheckptr
func (b *block) observe() {
	for range reapedAtATime {
		pid, status := b.peek()
		switch {
		case pid == 0:
			return
		case pid == b.leader:
			b.ended, b.status = true, status
			return
		}
		b.reap(pid)
	}
	b.more = true // once the line has been read
}

// peek returns which child has ended, and how, and does not reap it. If none has,
// the PID is 0.
//
//go:norace
//go:nocheckptr
func (b *block) peek() (pid, status int) {
	var info [32]int32 // siginfo_t
	const options = syscall.WEXITED | syscall.WNOHANG | syscall.WNOWAIT | syscall.WALL
	if _, errno := call(syscall.SYS_WAITID, pAll, 0, address(unsafe.Pointer(&info)), options, address(unsafe.Pointer(&b.usage))); errno != 0 {
		return 0, 0
	}
	// The fields that waitid(2) fills follow the signal, an errno, the code, and
	// padding.
	code, fields := info[2], info[4:]
	const exited, dumped = 1, 3 // CLD_EXITED, CLD_DUMPED
	status = int(fields[2])
	switch code {
	case exited:
		status <<= 8
	case dumped:
		status |= 0x80
	}
	return int(fields[0]), status
}

// reap reaps a child if it has ended.
//
//go:norace
//go:nocheckptr
func (b *block) reap(pid int) bool {
	got, errno := call(syscall.SYS_WAIT4, uintptr(pid), 0, syscall.WNOHANG|syscall.WALL, 0, 0)
	if errno != 0 || int(got) != pid {
		return false
	}
	b.killed.remove(pid)
	return true
}

// reapLeader reaps an ended leader, whose PID may be another process's from then
// on.
//
//go:norace
//go:nocheckptr
func (b *block) reapLeader() {
	if b.ended && !b.reaped {
		b.reap(b.leader)
		b.reaped = true
	}
}

// passesAtATime is how often a sweep goes through the children before the line is
// read again.
const passesAtATime = 8

// sweep reaps, kills if that is wanted, and returns 0 if no member is left besides
// an ended leader, else more. Children keep their PIDs until this process reaps
// them, so no other process is killed.
//
//go:norace
//go:nocheckptr
func (b *block) sweep() int {
	if b.killing && (b.stalled || b.late()) {
		// Also those below one that may not be killed.
		b.hurry()
		began := now()
		b.signalAll(int(syscall.SIGKILL), 0)
		b.stalled, b.walkDue = false, now()+walkPause+4*(now()-began)
	}
	for range passesAtATime {
		// Asked for anything but an end, the kernel says ECHILD if no child is left
		// but zombies (wait_consider_task in its kernel/exit.c).
		const options = syscall.WSTOPPED | syscall.WNOHANG | syscall.WNOWAIT | syscall.WALL
		if _, errno := call(syscall.SYS_WAITID, pAll, 0, 0, options, 0); errno == syscall.ECHILD {
			return 0
		}
		if !b.list() {
			return 1 // as far as is known
		}
		left := b.kill()
		reaped := 0
		for _, pid := range b.pids[:b.listed] {
			// The leader stays until the owner has heard of its end.
			if (int(pid) != b.leader || b.reaped) && b.reap(int(pid)) {
				reaped++
			}
			if reaped >= reapedAtATime && !b.killing {
				b.more = true
				return 1
			}
		}
		switch {
		case reaped > 0: // its children are this process's by now, and are not in the list
		case left == 0:
			return 1 // the kernel has said that somebody is left
		default:
			return left
		}
	}
	b.more = true
	return 1
}

// late reports whether it is time for a kill to look further down, although more and
// more is still happening.
//
//go:norace
//go:nocheckptr
func (b *block) late() bool {
	if b.walkDue == 0 {
		b.walkDue = now() + walkPause
	}
	return now() >= b.walkDue
}

// walkPause is how many milliseconds a kill goes by the children alone, at least.
const walkPause = 100

// kill kills the children that have been listed, the latest first, which are most
// likely alive, if that is wanted. It returns how many of them are members.
//
//go:norace
//go:nocheckptr
func (b *block) kill() (left int) {
	for i := b.listed - 1; i >= 0; i-- {
		pid := int(b.pids[i])
		if b.isEndedLeader(pid) {
			continue
		}
		left++
		if b.killing && pid > 1 && !b.killed.has(pid) {
			call(syscall.SYS_KILL, uintptr(pid), uintptr(syscall.SIGKILL), 0, 0, 0) // if it is not ours to kill, so be it
			b.killed.add(pid)
		}
	}
	return left
}

//go:norace
//go:nocheckptr
func (b *block) isEndedLeader(pid int) bool { return pid == b.leader && b.ended && !b.reaped }

// list lists the children's PIDs, zombies included.
//
//go:norace
//go:nocheckptr
func (b *block) list() bool {
	b.listed = 0
	return b.readPIDs(b.children)
}

// readPIDs appends the PIDs in a file of children to b.pids.
//
//go:norace
//go:nocheckptr
func (b *block) readPIDs(file int) bool {
	pid, offset := 0, uintptr(0)
	for {
		n, errno := call(syscall.SYS_PREAD64, uintptr(file), address(unsafe.Pointer(&b.text)), uintptr(len(b.text)), offset, 0)
		if errno != 0 {
			return false
		}
		if n == 0 {
			return true
		}
		offset += n
		for _, c := range b.text[:n] {
			switch {
			case c >= '0' && c <= '9':
				pid = 10*pid + int(c-'0')
			case pid > 0:
				if b.listed < len(b.pids) {
					b.pids[b.listed] = int32(pid)
					b.listed++
				}
				pid = 0
			}
		}
	}
}

// hurry is Hurry of package helper.
//
//go:norace
//go:nocheckptr
func (b *block) hurry() {
	if b.hurried {
		return
	}
	b.hurried = true
	most := -20
	call(syscall.SYS_SETPRIORITY, syscall.PRIO_PROCESS, 0, uintptr(most), 0, 0)
	b.takeShortTurns()
	session, _ := call(syscall.SYS_GETSID, 0, 0, 0, 0, 0)
	self, _ := call(syscall.SYS_GETPID, 0, 0, 0, 0, 0)
	if session != self {
		return
	}
	if fd := open("/proc/self/autogroup\x00", syscall.O_WRONLY); fd >= 0 {
		text := "-20"
		call(syscall.SYS_WRITE, uintptr(fd), address(unsafe.Pointer(unsafeData(text))), uintptr(len(text)), 0, 0)
		closeFD(fd)
	}
}

// takeShortTurns is TakeShortTurns of package helper.
//
//go:norace
//go:nocheckptr
func (b *block) takeShortTurns() {
	inverse, errno := call(syscall.SYS_GETPRIORITY, syscall.PRIO_PROCESS, 0, 0, 0, 0)
	if errno != 0 {
		return
	}
	given.sched = schedAttr{
		size: uint32(unsafe.Sizeof(given.sched)), flags: schedFlagKeepPolicy,
		nice: 20 - int32(inverse), runtime: shortTurn,
	}
	call(sysSchedSetattr, 0, address(unsafe.Pointer(&given.sched)), 0, 0, 0)
}
