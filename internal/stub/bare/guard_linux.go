//go:build amd64 || arm64

package bare

import (
	"syscall"
	"unsafe"

	"github.com/corral-run/corral/internal/wire/code"
)

// guard waits for the owner's end and then clears its home. It does so itself if
// nobody is left in it, as mostly. Else a helper does, and if that does not get
// going in time, the kernel kills all that is there first. guard never returns.
//
//go:norace
//go:nocheckptr
func (b *block) guard() {
	if b.prepareGuard() != 0 {
		exit(Unfit)
	}
	given.byte = code.GuardReady
	call(syscall.SYS_SENDTO, uintptr(b.line), address(unsafe.Pointer(&given.byte)), 1, syscall.MSG_NOSIGNAL, 0)
	// At once, as members may keep the scheduler from this process when it counts. The
	// helper inherits it.
	b.hurry()
	for b.line >= 0 {
		b.wait()
	}
	b.liftFileLimit()
	const most, pause = 250, 20 // milliseconds
	for range most {
		if b.clearEmpty() {
			break
		}
		if b.clearByHelper() {
			break
		}
		b.killRuns()
		b.sleep(pause)
	}
	exit(0)
}

// prepareGuard makes this process a guard, and opens what it will take. If the owner
// has ended meanwhile, there is no line any more.
//
//go:norace
//go:nocheckptr
func (b *block) prepareGuard() (errno syscall.Errno) {
	b.becomeHelperProcess() // openEvents says it too if the owner is gone
	call(syscall.SYS_SETSID, 0, 0, 0, 0, 0)
	if b.tryBirth && !b.canBeBorn() {
		return syscall.EPERM
	}
	b.exe = openAt(b.helperPath, oPath)
	b.parent = openBelow(b.home, "..\x00", oPath|syscall.O_DIRECTORY)
	b.populated = openBelow(b.home, "cgroup.events\x00", syscall.O_RDONLY)
	b.killer = openBelow(b.home, "cgroup.kill\x00", syscall.O_WRONLY)
	if b.parent < 0 || b.populated < 0 || b.killer < 0 {
		return syscall.ENOENT
	}
	b.chld, b.leaderFD, b.ownerFD, b.events = -1, -1, -1, -1
	switch errno = b.openEvents(); errno {
	case 0:
	case syscall.ESRCH:
		b.drop(&b.line)
	default:
		return errno
	}
	b.changeDir()
	b.closeOthers()
	return 0
}

// canBeBorn reports whether a process can be born in home, and lives.
//
//go:norace
//go:nocheckptr
func (b *block) canBeBorn() bool {
	given.clone = cloneArgs{flags: syscall.CLONE_INTO_CGROUP, exitSignal: uint64(syscall.SIGCHLD), cgroup: uint64(b.home)}
	pid, _, errno := syscall.RawSyscall6(sysClone3, address(unsafe.Pointer(&given.clone)), unsafe.Sizeof(given.clone), 0, 0, 0, 0)
	if errno == 0 && pid == 0 {
		exit(0)
	}
	status := int32(-1)
	if errno == 0 {
		_, errno = call(syscall.SYS_WAIT4, pid, address(unsafe.Pointer(&status)), syscall.WALL, 0, 0)
	}
	return errno == 0 && status == 0
}

// clearEmpty removes home and what is below it if nobody is there, and reports
// whether it has.
//
//go:norace
//go:nocheckptr
func (b *block) clearEmpty() bool {
	const empty = "populated 0\n"
	n, errno := call(syscall.SYS_PREAD64, uintptr(b.populated), address(unsafe.Pointer(&b.text)), uintptr(len(b.text)), 0, 0)
	if errno == syscall.ENODEV {
		return true // the owner has removed it
	}
	if errno != 0 || int(n) < len(empty) {
		return false
	}
	for i := range len(empty) {
		if b.text[i] != empty[i] {
			return false
		}
	}
	const rewind = 0
	call(syscall.SYS_LSEEK, uintptr(b.home), 0, rewind, 0, 0)
	for {
		n, errno := call(syscall.SYS_GETDENTS64, uintptr(b.home), address(unsafe.Pointer(&b.text)), uintptr(len(b.text)), 0, 0)
		if errno != 0 || n == 0 {
			break
		}
		for name, kind, rest := entry(b.text[:n]); name != nil; name, kind, rest = entry(rest) {
			if kind == syscall.DT_DIR && name[0] != '.' {
				call(syscall.SYS_UNLINKAT, uintptr(b.home), address(unsafe.Pointer(&name[0])), atRemoveDir, 0, 0)
			}
		}
	}
	_, errno = call(syscall.SYS_UNLINKAT, uintptr(b.parent), b.homeName, atRemoveDir, 0, 0)
	return errno == 0 || errno == syscall.ENOENT
}

// killRuns has the kernel kill all runs but those that are to outlive the owner. If
// there is none of those, it takes no descriptor.
//
//go:norace
//go:nocheckptr
func (b *block) killRuns() {
	detached, failed := b.eachRun(0)
	if detached {
		detached, failed = b.eachRun('1')
	}
	if !detached && !failed {
		given.byte = '1'
		call(syscall.SYS_PWRITE64, uintptr(b.killer), address(unsafe.Pointer(&given.byte)), 1, 0, 0)
	}
}

// eachRun looks at the runs' directories, and writes what to cgroup.kill, unless it is
// 0, in those of runs that are not to outlive the owner. It reports whether there are
// others, and whether it could not look.
//
//go:norace
//go:nocheckptr
func (b *block) eachRun(what byte) (detached, failed bool) {
	call(syscall.SYS_LSEEK, uintptr(b.home), 0, 0, 0, 0)
	for {
		n, errno := call(syscall.SYS_GETDENTS64, uintptr(b.home), address(unsafe.Pointer(&b.entries)), uintptr(len(b.entries)), 0, 0)
		if errno != 0 || n == 0 {
			return detached, errno != 0
		}
		for name, kind, rest := entry(b.entries[:n]); name != nil; name, kind, rest = entry(rest) {
			switch {
			case kind != syscall.DT_DIR || name[0] == '.':
			case endsWith(name, detachSuffix):
				detached = true
			case what != 0:
				b.writeKill(name, what)
			}
		}
	}
}

// detachSuffix ends the name of a run that is to outlive its owner: see detachPlan in
// package wire.
const detachSuffix = ".detach"

// writeKill writes what to a run's cgroup.kill.
//
//go:norace
//go:nocheckptr
func (b *block) writeKill(run []byte, what byte) {
	const file = "/cgroup.kill\x00"
	path := b.text[:]
	if len(run)+len(file) > len(path) {
		return
	}
	writeText(path, writeText(path, 0, unsafe.String(&run[0], len(run))), file)
	fd := openBelowAt(b.home, address(unsafe.Pointer(&b.text)), syscall.O_WRONLY)
	if fd >= 0 {
		given.byte = what
		call(syscall.SYS_WRITE, uintptr(fd), address(unsafe.Pointer(&given.byte)), 1, 0, 0)
		closeFD(fd)
	}
}

//go:norace
//go:nocheckptr
func endsWith(name []byte, suffix string) bool {
	if len(name) < len(suffix) {
		return false
	}
	for i := range len(suffix) {
		if name[len(name)-len(suffix)+i] != suffix[i] {
			return false
		}
	}
	return true
}

// clearByHelper has a helper do it, and reports whether it says that it has. One that
// is late may go on, but the kernel has killed all by then.
//
//go:norace
//go:nocheckptr
func (b *block) clearByHelper() bool {
	line, pid := b.startHelper()
	if line < 0 {
		return false
	}
	call(syscall.SYS_SHUTDOWN, uintptr(line), syscall.SHUT_WR, 0, 0, 0) // as an owner that is gone
	if !isReady(line) {
		b.killRuns()
		if !isReady(line) {
			call(syscall.SYS_KILL, uintptr(pid), uintptr(syscall.SIGKILL), 0, 0, 0)
		}
	}
	closeFD(line)
	status := int32(-1)
	_, errno := call(syscall.SYS_WAIT4, uintptr(pid), address(unsafe.Pointer(&status)), syscall.WALL, 0, 0)
	return errno == 0 && status == 0
}

// isReady reports whether the helper says in time that it is ready.
//
//go:norace
//go:nocheckptr
func isReady(line int) bool {
	const patience = 5 // seconds
	given.time = syscall.Timespec{Sec: patience}
	call(syscall.SYS_SETSOCKOPT, uintptr(line), syscall.SOL_SOCKET, syscall.SO_RCVTIMEO, address(unsafe.Pointer(&given.time)), unsafe.Sizeof(given.time))
	n, errno := call(syscall.SYS_READ, uintptr(line), address(unsafe.Pointer(&given.byte)), 1, 0, 0)
	return errno == 0 && n == 1
}

//go:norace
//go:nocheckptr
func (b *block) sleep(milliseconds int64) {
	given.time = syscall.Timespec{Nsec: milliseconds * 1e6}
	call(syscall.SYS_NANOSLEEP, address(unsafe.Pointer(&given.time)), 0, 0, 0, 0)
}
