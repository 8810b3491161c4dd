//go:build amd64 || arm64

package bare

import (
	"syscall"
	"unsafe"
)

// What package syscall does before and after it forks. gVisor uses them in the same
// way, so the Go project keeps them as they are (see runtime/proc.go).

//go:linkname beforeFork syscall.runtime_BeforeFork
func beforeFork()

//go:linkname afterFork syscall.runtime_AfterFork
func afterFork()

//go:linkname afterForkInChild syscall.runtime_AfterForkInChild
func afterForkInChild()

// stackRoom is more than what the functions in the child take, all together: there,
// the stack cannot grow.
const stackRoom = 16 << 10

// growStack makes room on the stack.
//
//go:noinline
//go:norace
func growStack() byte {
	var room [stackRoom]byte
	return room[len(room)-1-int(zero)]
}

var zero byte // which the compiler does not know

// fork forks a stub, which runs in the block.
//
//go:norace
//go:nocheckptr
func fork(b *block) (pid int, errno syscall.Errno) {
	syscall.ForkLock.Lock()
	growStack() // here, as the garbage collector may shrink it while the lock is waited for
	pid, errno = forkLocked(b)
	syscall.ForkLock.Unlock()
	return pid, errno
}

// cloneArgs is the kernel's struct clone_args.
type cloneArgs struct {
	flags, pidFD, childTID, parentTID, exitSignal, stack, stackSize, tls, setTID, setTIDSize, cgroup uint64
}

// forkLocked forks. No function but nosplit ones may be called in the parent
// between beforeFork and afterFork.
//
//go:norace
//go:nocheckptr
//go:nosplit
func forkLocked(b *block) (int, syscall.Errno) {
	// CLONE_CLEAR_SIGHAND is one system call in place of sixty (Linux 5.5).
	args := cloneArgs{flags: syscall.CLONE_CLEAR_SIGHAND, exitSignal: uint64(syscall.SIGCHLD)}
	// All signals are blocked, also when afterFork has restored what beforeFork has
	// found: a stub takes none.
	all := ^uint64(0)
	syscall.RawSyscall6(syscall.SYS_RT_SIGPROCMASK, sigSetMask, uintptr(unsafe.Pointer(&all)), uintptr(unsafe.Pointer(&b.mask)), sigSize, 0, 0)
	beforeFork()
	pid, _, errno := syscall.RawSyscall6(sysClone3, uintptr(unsafe.Pointer(&args)), unsafe.Sizeof(args), 0, 0, 0, 0)
	cleared := errno == 0
	if errno == syscall.ENOSYS || errno == syscall.EINVAL || errno == syscall.EPERM {
		pid, _, errno = syscall.RawSyscall6(syscall.SYS_CLONE, uintptr(syscall.SIGCHLD), 0, 0, 0, 0, 0)
	}
	if errno == 0 && pid == 0 {
		if !cleared {
			afterForkInChild()
		}
		afterFork() // from here on the stack is an ordinary one
		if b.isGuard {
			b.guard()
		}
		b.run()
	}
	afterFork()
	syscall.RawSyscall6(syscall.SYS_RT_SIGPROCMASK, sigSetMask, uintptr(unsafe.Pointer(&b.mask)), 0, sigSize, 0, 0)
	return int(pid), errno
}

// noPreemption keeps the runtime from taking this thread away from its goroutine
// until afterFork: beforeFork, without what it does to the stack.
//
//go:norace
//go:nocheckptr
//go:nosplit
func noPreemption() {
	beforeFork()
	beforeFork()
	afterFork()
}

// dropHeap gives back the memory that this process shares with the owner, except
// for what it needs. Or the owner would have to copy what it writes to, and this
// process would keep what the owner has long overwritten. The heap consists of
// arenas of 64 MiB (heapArenaBytes in the runtime's malloc.go).
//
//go:norace
//go:nocheckptr
func dropHeap() {
	const arena, page = 64 << 20, 64 << 10 // or a divisor of the page
	var here byte
	sp := address(unsafe.Pointer(&here)) &^ (page - 1)
	low, high := sp-page, sp+2*page           // that is the stack: at most 2*stackRoom below here
	other := (threadArea() - 8) &^ (page - 1) // just below is what is loaded
	first := sp &^ (arena - 1)
	last := first + arena
	switch {
	case other < first || other >= last || other >= low && other+page <= high:
		drop(first, low)
		drop(high, last)
	case other < low:
		drop(first, other-page)
		drop(other+page, low)
		drop(high, last)
	default:
		drop(first, low)
		drop(high, other-page)
		drop(other+page, last)
	}
}

//go:norace
//go:nocheckptr
func drop(from, to uintptr) {
	if from < to {
		call(syscall.SYS_MADVISE, from, to-from, syscall.MADV_DONTNEED, 0, 0)
	}
}

//go:norace
//go:nocheckptr
func open(path string, flags int) int {
	return openAt(address(unsafe.Pointer(unsafe.StringData(path))), flags)
}

//go:norace
//go:nocheckptr
func openAt(path uintptr, flags int) int {
	return openBelowAt(atCWD, path, flags)
}

// openBelow opens a file relative to a directory.
//
//go:norace
//go:nocheckptr
func openBelow(dir int, path string, flags int) int {
	return openBelowAt(dir, address(unsafe.Pointer(unsafe.StringData(path))), flags)
}

//go:norace
//go:nocheckptr
func openBelowAt(dir int, path uintptr, flags int) int {
	fd, errno := call(syscall.SYS_OPENAT, uintptr(dir), path, uintptr(flags|syscall.O_CLOEXEC), 0, 0)
	if errno != 0 {
		return -1
	}
	return int(fd)
}
