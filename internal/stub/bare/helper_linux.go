//go:build amd64 || arm64

package bare

import (
	"syscall"
	"unsafe"
)

// homeNumber is the descriptor that the guard's program has its home by.
const homeNumber = 3

// startHelper starts a helper, whose owner this process is, and returns the end of
// the line to it, below 0 if it could not be started, and its PID.
//
//go:norace
//go:nocheckptr
func (b *block) startHelper() (line, pid int) {
	var ends [2]int32
	if _, errno := call(syscall.SYS_SOCKETPAIR, syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0, address(unsafe.Pointer(&ends)), 0); errno != 0 {
		return -1, 0
	}
	pid, errno := child(b.forkHelper(int(ends[1])))
	closeFD(int(ends[1]))
	if errno != 0 {
		closeFD(int(ends[0]))
		return -1, 0
	}
	return int(ends[0]), pid
}

//go:norace
//go:nocheckptr
//go:noinline
func (b *block) forkHelper(line int) uintptr {
	result := vfork()
	if result == 0 {
		b.becomeHelper(line)
		exit(253)
	}
	return result
}

// becomeHelper executes a helper with the line as its standard input. It returns
// only if it fails.
//
//go:norace
//go:nocheckptr
//go:noinline
func (b *block) becomeHelper(line int) {
	makeRoom(line)
	null := open("/dev/null\x00", syscall.O_RDWR)
	if null < 0 {
		null = b.populated // something has to be open, as the runtime wants it
	}
	// All above the standard streams first.
	const above = homeNumber + 1
	exe := b.exe
	for _, fd := range [...]*int{&line, &null, &exe} {
		high, errno := call(syscall.SYS_FCNTL, uintptr(*fd), syscall.F_DUPFD_CLOEXEC, above, 0, 0)
		if errno != 0 && fd != &exe {
			return
		}
		*fd = int(high)
	}
	call(syscall.SYS_DUP3, uintptr(line), 0, 0, 0, 0)
	call(syscall.SYS_DUP3, uintptr(null), 1, 0, 0, 0)
	call(syscall.SYS_DUP3, uintptr(null), 2, 0, 0, 0)
	call(syscall.SYS_DUP3, uintptr(b.home), homeNumber, 0, 0, 0)
	setMask(0)
	empty := "\x00"
	call(sysExecveat, uintptr(exe), address(unsafe.Pointer(unsafeData(empty))), b.helperArgv, b.helperEnvp, atEmptyPath)
	call(syscall.SYS_EXECVE, b.helperPath, b.helperArgv, b.helperEnvp, 0, 0)
}

// makeRoom makes room for a helper's descriptors, fd being one that is open. Once the
// helper has threads, it waits for an RCU grace period each time that its table grows
// (expand_fdtable in fs/file.c), and members that fork all the time make that last
// for seconds.
//
//go:norace
//go:nocheckptr
//go:noinline
func makeRoom(fd int) {
	const enough, usual = 1024, 64
	for room := enough; room > usual; room /= 2 { // the limit may be lower
		if last, errno := call(syscall.SYS_FCNTL, uintptr(fd), syscall.F_DUPFD_CLOEXEC, uintptr(room-1), 0, 0); errno == 0 {
			closeFD(int(last)) // the table stays as it is
			return
		}
	}
}
