//go:build amd64 || arm64

package bare

import (
	"syscall"
	"unsafe"
)

// vfork forks a child that uses this process's memory until it executes a program
// or ends, and has this process wait for that. The result is the child's PID, 0 in
// the child, or an errno below 0.
//
// The child uses the stack of this process. So the function that calls vfork is not
// left in the child, and left at once in the parent.
func vfork() (result uintptr)

// startLeader forks the leader and returns why it could not be started.
//
//go:norace
//go:nocheckptr
func (b *block) startLeader() syscall.Errno {
	var ends [2]int32
	if _, errno := call(syscall.SYS_PIPE2, address(unsafe.Pointer(&ends)), syscall.O_CLOEXEC, 0, 0, 0); errno != 0 {
		return errno
	}
	if b.startGroup != 0 {
		if _, errno := call(syscall.SYS_SETPGID, 0, uintptr(b.startGroup), 0, 0, 0); errno != 0 {
			return errno
		}
	}
	self, _ := call(syscall.SYS_GETPID, 0, 0, 0, 0, 0)
	if b.early {
		// In the child, in this memory, neither a handler must run nor the scheduler.
		b.mask = setMask(^uint64(0))
		noPreemption()
	}
	pid, errno := child(b.forkLeader(self, int(ends[1])))
	if b.early {
		afterFork()
		setMask(b.mask)
	}
	closeFD(int(ends[1]))
	if errno == 0 {
		b.leader = pid
		var failure syscall.Errno
		if n, rerr := call(syscall.SYS_READ, uintptr(ends[0]), address(unsafe.Pointer(&failure)), 8, 0, 0); rerr == 0 && n == 8 {
			errno = failure
			call(syscall.SYS_WAIT4, uintptr(pid), 0, 0, 0, 0)
			b.leader = 0
		}
	}
	closeFD(int(ends[0]))
	return errno
}

// child tells a PID from an errno, in what vfork returns.
//
//go:norace
//go:nocheckptr
func child(result uintptr) (pid int, errno syscall.Errno) {
	const mostErrno = 4095
	if n := int(result); n < 0 && n >= -mostErrno {
		return 0, syscall.Errno(-n)
	}
	return int(result), 0
}

//go:norace
//go:nocheckptr
//go:noinline
func (b *block) forkLeader(self uintptr, told int) uintptr {
	result := vfork()
	if result == 0 {
		b.becomeLeader(self, told)
	}
	return result
}

// becomeLeader is all that the leader does until it executes its program. If it
// cannot, it tells why by the pipe, and ends.
//
//go:norace
//go:nocheckptr
//go:noinline
func (b *block) becomeLeader(parent uintptr, told int) {
	end := int32(told)
	errno := b.prepareLeader(parent, &end)
	given.errno = errno
	call(syscall.SYS_WRITE, uintptr(end), address(unsafe.Pointer(&given.errno)), 8, 0, 0)
	exit(253)
}

// prepareLeader does what os/exec does in a child, in the same order. It returns
// only if something fails. *told is the pipe's end, which may have to move.
//
//go:norace
//go:nocheckptr
func (b *block) prepareLeader(parent uintptr, told *int32) syscall.Errno {
	if b.setsid {
		if _, errno := call(syscall.SYS_SETSID, 0, 0, 0, 0, 0); errno != 0 {
			return errno
		}
	}
	if b.setpgid {
		if _, errno := call(syscall.SYS_SETPGID, 0, uintptr(b.pgid), 0, 0, 0); errno != 0 {
			return errno
		}
	}
	if b.early {
		b.giveSignalsBack()
	}
	setMask(b.mask)
	if errno := b.changeRights(); errno != 0 {
		return errno
	}
	if b.dir != 0 {
		if _, errno := call(syscall.SYS_CHDIR, b.dir, 0, 0, 0, 0); errno != 0 {
			return errno
		}
	}
	if b.pdeathsig != 0 {
		if _, errno := call(syscall.SYS_PRCTL, syscall.PR_SET_PDEATHSIG, uintptr(b.pdeathsig), 0, 0, 0); errno != 0 {
			return errno
		}
		if now, _ := call(syscall.SYS_GETPPID, 0, 0, 0, 0, 0); now != parent {
			exit(253) // the keeper is dead
		}
	}
	if errno := b.arrangeFiles(told); errno != 0 {
		return errno
	}
	if b.noctty {
		if _, errno := call(syscall.SYS_IOCTL, 0, syscall.TIOCNOTTY, 0, 0, 0); errno != 0 {
			return errno
		}
	}
	if b.setctty {
		if _, errno := call(syscall.SYS_IOCTL, uintptr(b.ctty), syscall.TIOCSCTTY, 1, 0, 0); errno != 0 {
			return errno
		}
	}
	if b.setLimit {
		call(syscall.SYS_PRLIMIT64, 0, syscall.RLIMIT_NOFILE, address(unsafe.Pointer(&b.limit)), 0, 0)
	}
	_, errno := call(syscall.SYS_EXECVE, b.path, b.argv, b.envp, 0, 0)
	return errno
}

// giveSignalsBack has the leader ignore what the owner ignores, and nothing else.
//
//go:norace
//go:nocheckptr
func (b *block) giveSignalsBack() {
	for sig := 1; sig <= 64; sig++ {
		if b.ignored&(1<<(sig-1)) != 0 {
			ignore(sig)
		} else {
			setDefault(sig)
		}
	}
}

// changeRights changes the root directory and the ids.
//
//go:norace
//go:nocheckptr
func (b *block) changeRights() syscall.Errno {
	if b.chroot != 0 {
		if _, errno := call(syscall.SYS_CHROOT, b.chroot, 0, 0, 0, 0); errno != 0 {
			return errno
		}
	}
	if !b.setCredential {
		return 0
	}
	if b.setGroups {
		if _, errno := call(syscall.SYS_SETGROUPS, uintptr(b.groupCount), b.groups, 0, 0, 0); errno != 0 {
			return errno
		}
	}
	if _, errno := call(syscall.SYS_SETGID, uintptr(b.gid), 0, 0, 0, 0); errno != 0 {
		return errno
	}
	_, errno := call(syscall.SYS_SETUID, uintptr(b.uid), 0, 0, 0, 0)
	return errno
}

// arrangeFiles gives the leader's descriptors their numbers.
//
//go:norace
//go:nocheckptr
func (b *block) arrangeFiles(told *int32) syscall.Errno {
	files := numbersAt(b.files, b.fileCount)
	// Those that are in the way of others go above all of them first.
	above := uintptr(max(b.fileCount, 3))
	if int(*told) < b.fileCount {
		fd, errno := call(syscall.SYS_FCNTL, uintptr(*told), syscall.F_DUPFD_CLOEXEC, above, 0, 0)
		if errno != 0 {
			return errno
		}
		*told = int32(fd)
	}
	for i := range files {
		if files[i] >= 0 && int(files[i]) < i {
			fd, errno := call(syscall.SYS_FCNTL, uintptr(files[i]), syscall.F_DUPFD_CLOEXEC, above, 0, 0)
			if errno != 0 {
				return errno
			}
			files[i] = int32(fd)
		}
	}
	for i := range files {
		switch {
		case files[i] < 0:
			closeFD(i)
		case int(files[i]) == i: // dup3(2) refuses that
			if _, errno := call(syscall.SYS_FCNTL, uintptr(i), syscall.F_SETFD, 0, 0, 0); errno != 0 {
				return errno
			}
		default:
			if _, errno := call(syscall.SYS_DUP3, uintptr(files[i]), uintptr(i), 0, 0, 0); errno != 0 {
				return errno
			}
		}
	}
	return 0
}
