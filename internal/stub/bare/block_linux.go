//go:build amd64 || arm64

package bare

import (
	"syscall"
	"unsafe"
)

// block is the memory that a stub works in: a mapping of its own, which the owner
// fills before the fork. It has no pointers of Go's, only addresses. Texts end with
// a zero byte, and lists of them with a zero.
type block struct {
	leaderSpec
	guardSpec

	title        uintptr // the role
	titleLen     int
	owner        int     // its PID
	line         int     // to the owner; below 0 when that is gone
	argStart     uintptr // where the process's arguments are in memory
	argEnd       uintptr
	leaveSession bool // once the leader has started
	keep, detach bool // leftovers are to be kept; the run is to outlive the owner
	plan         [MaxSteps]Step
	planLen      int
	isGuard      bool

	startGroup int // to start the leader from, 0 for the keeper's

	// What follows is the stub's own.

	children, procDir     int    // descriptors of /proc
	events, chld, ownerFD int    // what tells that something has happened
	exe                   int    // the program for helpers
	parent                int    // the directory that home is in
	populated, killer     int    // files of home's
	early                 bool   // it has a runtime
	ignored               uint64 // signals that the owner ignores; early only
	leaderFD              int    // a pidfd; early only
	leader                int    // its PID
	status                int    // how it has ended
	usage                 syscall.Rusage
	ended, told, reaped   bool // it has; the owner knows; it has been reaped
	empty                 bool
	killing, stalled      bool // as in the keeper that has a runtime
	more, hurried         bool
	finishing, letGo      bool
	ownerGone             bool
	stopping, denied      bool  // the plan has begun; a member may not be signalled
	walkDue               int64 // when a kill next looks further down, 0 for not yet known
	nextStep              int
	stepDue               int64 // when the next step is due, 0 for never
	deadline              int64 // when to give up, 0 for never
	pause                 int   // in milliseconds, the last one if nothing has happened in it
	frameLen              int
	frame                 [512]byte
	text, entries         [4096]byte
	happened              [8]syscall.EpollEvent
	listed                int
	pids                  [maxPIDs]int32
	levels                [maxDepth]level
	killed                marks // children that have got SIGKILL
	signalled             marks // who has got the signal that is being sent
}

// leaderSpec is how to start the leader.
type leaderSpec struct {
	path, argv, envp uintptr
	dir, chroot      uintptr // 0 if there is none
	files            uintptr // an int32 each, below 0 for a descriptor that is to be closed
	fileCount        int
	mask             uint64    // of the signals that the owner's thread has blocked
	limit            [2]uint64 // of open files
	setLimit         bool

	setsid, setpgid, noctty, setctty bool
	pgid, ctty, pdeathsig            int

	setCredential, setGroups bool
	uid, gid                 uint32
	groups                   uintptr // an uint32 each
	groupCount               int
}

// guardSpec is what to guard, and how to start the helper that clears it.
type guardSpec struct {
	home     int     // the directory of the runs' control groups
	homeName uintptr // in the directory above
	tryBirth bool    // find out whether a process can be born in home

	helperPath, helperArgv, helperEnvp uintptr
}

// marks are a set of PIDs.
type marks [maxPID / 64]uint64

//go:norace
//go:nocheckptr
func (m *marks) has(pid int) bool { return pid >= 0 && pid < maxPID && m[pid/64]&(1<<(pid%64)) != 0 }

//go:norace
//go:nocheckptr
func (m *marks) add(pid int) {
	if pid >= 0 && pid < maxPID {
		m[pid/64] |= 1 << (pid % 64)
	}
}

//go:norace
//go:nocheckptr
func (m *marks) remove(pid int) {
	if m.has(pid) { // or memory would be touched for nothing
		m[pid/64] &^= 1 << (pid % 64)
	}
}

const (
	maxPID  = 1 << 22 // PID_MAX_LIMIT of 64-bit kernels (include/linux/threads.h)
	maxPIDs = 1 << 16 // processes that a look takes in; there will be another look

	maxDepth = 2048 // of a tree, as far as it is signalled; the kill follows it down to the end
)

// reset empties the set. The kernel gives empty pages for those in the middle, so
// what has not been touched stays untouched, and no memory is needed.
//
//go:norace
//go:nocheckptr
func (m *marks) reset() {
	const page = 64 << 10 // or a divisor of it
	from := address(unsafe.Pointer(m))
	first, last := (from+page-1)&^(page-1), (from+unsafe.Sizeof(*m))&^(page-1)
	for i := range m[:(first-from)/8] {
		m[i] = 0
	}
	call(syscall.SYS_MADVISE, first, last-first, syscall.MADV_DONTNEED, 0, 0)
	for i := int(last-from) / 8; i < len(m); i++ {
		m[i] = 0
	}
}
