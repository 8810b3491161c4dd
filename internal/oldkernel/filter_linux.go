//go:build amd64 || arm64

package main

import (
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// x32 is the first system call number of amd64's x32 ABI. It has the same audit
// architecture, so a filter that reads only that takes x32 for amd64.
const x32 = 0x4000_0000

// namespaces are the flags of clone(2) that make a namespace. CLONE_NEWTIME is not
// among them: in clone, its bit is one of the exit signal.
const namespaces = unix.CLONE_NEWNS | unix.CLONE_NEWCGROUP | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC |
	unix.CLONE_NEWUSER | unix.CLONE_NEWPID | unix.CLONE_NEWNET

// Offsets in struct seccomp_data. The arguments have 64 bits each. The filter reads
// the low 32, which both architectures have first.
const (
	offsetNumber = 0
	offsetArch   = 4
	offsetArg0   = 16
	offsetArg1   = 24
)

// filter returns the program, of the shape that seccomp(2) describes. It reads the
// architecture first: under another one the numbers mean something else, so it
// kills programs of another one.
func filter(noPidfdSignal bool) []unix.SockFilter {
	native := uint32(unix.AUDIT_ARCH_X86_64)
	if runtime.GOARCH == "arm64" {
		native = unix.AUDIT_ARCH_AARCH64
	}
	p := []unix.SockFilter{
		load(offsetArch),
		skipUnless(unix.BPF_JEQ, native, 1),
		skip(1),
		give(unix.SECCOMP_RET_KILL_PROCESS),
		load(offsetNumber),
	}
	if runtime.GOARCH == "amd64" {
		p = append(p, skipUnless(unix.BPF_JGE, x32, 1), refuse(unix.ENOSYS))
	}
	rule := func(number uint32, body ...unix.SockFilter) {
		p = append(p, skipUnless(unix.BPF_JEQ, number, len(body)))
		p = append(p, body...)
	}
	rule(unix.SYS_PIDFD_OPEN, refuse(unix.ENOSYS))
	rule(unix.SYS_CLONE3, refuse(unix.ENOSYS))
	if noPidfdSignal {
		rule(unix.SYS_PIDFD_SEND_SIGNAL, refuse(unix.ENOSYS))
	}
	rule(unix.SYS_UNSHARE, refuse(unix.EPERM))
	rule(unix.SYS_SETNS, refuse(unix.EPERM))
	rule(unix.SYS_WAITID,
		load(offsetArg0), skipUnless(unix.BPF_JEQ, unix.P_PIDFD, 1), refuse(unix.ENOSYS), allow())
	rule(unix.SYS_IOCTL,
		load(offsetArg1), skipUnless(unix.BPF_JEQ, unix.TIOCGPTPEER, 1), refuse(unix.ENOTTY), allow())
	rule(unix.SYS_CLONE,
		load(offsetArg0), skipUnless(unix.BPF_JSET, namespaces, 1), refuse(unix.EPERM), allow())
	return append(p, allow())
}

// load takes 32 bits of struct seccomp_data into the accumulator.
func load(offset uint32) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: offset}
}

// skipUnless skips n instructions if the comparison of the accumulator with k
// fails.
func skipUnless(comparison uint16, k uint32, n int) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_JMP | comparison | unix.BPF_K, Jf: uint8(n), K: k}
}

func skip(n uint32) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JA, K: n}
}

func give(action uint32) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: action}
}

func refuse(errno syscall.Errno) unix.SockFilter {
	return give(unix.SECCOMP_RET_ERRNO | uint32(errno))
}

func allow() unix.SockFilter { return give(unix.SECCOMP_RET_ALLOW) }
