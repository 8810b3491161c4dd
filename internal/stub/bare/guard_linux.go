//go:build amd64 || arm64

package bare

import (
	"syscall"
	"unsafe"

	"github.com/corral-run/corral/internal/wire/code"
)

// guard waits for the owner's end and then clears its home. It does so itself if
// nobody is left in it, as mostly. Else a helper does, and if that does not get
// going, the kernel kills all that is there first. guard never returns.
//
//go:norace
//go:nocheckptr
func (b *block) guard() {
	if b.prepareGuard() != 0 {
		exit(Unfit)
	}
	given.byte = code.GuardReady
	call(syscall.SYS_SENDTO, uintptr(b.line), address(unsafe.Pointer(&given.byte)), 1, syscall.MSG_NOSIGNAL, 0)
	for b.line >= 0 {
		b.wait()
	}
	b.liftFileLimit()
	const most, pause = 250, 20 // milliseconds
	for range most {
		if b.clearEmpty() || b.clearByHelper() {
			break
		}
		given.byte = '1'
		call(syscall.SYS_PWRITE64, uintptr(b.killer), address(unsafe.Pointer(&given.byte)), 1, 0, 0)
		b.sleep(pause)
	}
	exit(0)
}

// prepareGuard makes this process a guard, and opens what it will take.
//
//go:norace
//go:nocheckptr
func (b *block) prepareGuard() (errno syscall.Errno) {
	if errno = b.becomeHelperProcess(); errno != 0 {
		return errno
	}
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
	b.chld, b.leaderFD = -1, -1
	if errno = b.openEvents(); errno != 0 {
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
		// A struct linux_dirent64: 8 bytes each of inode and offset, 2 of length, 1
		// of type, then the name.
		for entry := b.text[:n]; len(entry) > 19; {
			length := int(entry[16]) | int(entry[17])<<8
			if entry[18] == syscall.DT_DIR && entry[19] != '.' {
				call(syscall.SYS_UNLINKAT, uintptr(b.home), address(unsafe.Pointer(&entry[19])), atRemoveDir, 0, 0)
			}
			if length < 19 || length >= len(entry) {
				break
			}
			entry = entry[length:]
		}
	}
	_, errno = call(syscall.SYS_UNLINKAT, uintptr(b.parent), b.homeName, atRemoveDir, 0, 0)
	return errno == 0 || errno == syscall.ENOENT
}

// clearByHelper has a helper do it, and reports whether it says that it has.
//
//go:norace
//go:nocheckptr
func (b *block) clearByHelper() bool {
	line, pid := b.startHelper()
	if line < 0 {
		return false
	}
	closeFD(line) // as an owner that is gone
	status := int32(-1)
	_, errno := call(syscall.SYS_WAIT4, uintptr(pid), address(unsafe.Pointer(&status)), syscall.WALL, 0, 0)
	return errno == 0 && status == 0
}

//go:norace
//go:nocheckptr
func (b *block) sleep(milliseconds int64) {
	given.time.Nsec = milliseconds * 1e6
	call(syscall.SYS_NANOSLEEP, address(unsafe.Pointer(&given.time)), 0, 0, 0, 0)
}
