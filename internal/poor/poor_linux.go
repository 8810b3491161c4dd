//go:build linux && (amd64 || arm64)

package poor

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Attr adds to attr what a process needs to call Exec: namespaces of its own.
func (m Machine) Attr(attr *syscall.SysProcAttr) {
	mounts := m.Kind == NoProc || m.Kind == ForeignProc || m.Kind == FullDisk
	if mounts {
		attr.Cloneflags |= unix.CLONE_NEWNS
	}
	if os.Geteuid() != 0 && (mounts || m.Kind == FewProcesses) {
		same := func(id int) []syscall.SysProcIDMap {
			return []syscall.SysProcIDMap{{ContainerID: id, HostID: id, Size: 1}}
		}
		attr.Cloneflags |= unix.CLONE_NEWUSER
		attr.UidMappings, attr.GidMappings = same(os.Geteuid()), same(os.Getegid())
		// For the mounts; Exec drops it.
		attr.AmbientCaps = []uintptr{unix.CAP_SYS_ADMIN}
	}
}

// Exec makes this process poor and replaces it by a program. It returns if it
// cannot.
func (m Machine) Exec(argv []string) error {
	runtime.LockOSThread() // filters and capabilities are a thread's
	env := os.Environ()
	switch m.Kind {
	case Rich, FewFiles:
	case FewProcesses:
		if m.Group != "" {
			if err := os.WriteFile(filepath.Join(m.Group, "cgroup.procs"), []byte("0"), 0); err != nil {
				return err
			}
		}
	case NoProc:
		if err := cover("/proc", "size=4k,mode=555"); err != nil {
			return err
		}
	case ForeignProc:
		if err := replaceProc(); err != nil {
			return err
		}
	case FullDisk:
		// A directory that every system has, and that no run needs.
		const dir = "/mnt"
		if err := cover(dir, "size=16k,mode=777"); err != nil {
			return err
		}
		if err := fill(dir); err != nil {
			return err
		}
		env = append(env, "TMPDIR="+dir)
	default:
		if err := refuse(m.Kind); err != nil {
			return err
		}
	}
	if os.Geteuid() != 0 {
		header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		var none [2]unix.CapUserData
		if err := unix.Capset(&header, &none[0]); err != nil {
			return os.NewSyscallError("capset", err)
		}
	}
	// Last: there may be none left for anything else.
	if err := m.limit(); err != nil {
		return err
	}
	return fmt.Errorf("exec %s: %w", argv[0], syscall.Exec(argv[0], argv, env))
}

func (m Machine) limit() error {
	resource := unix.RLIMIT_NOFILE
	switch {
	case m.Kind == FewProcesses && m.Group == "":
		resource = unix.RLIMIT_NPROC
	case m.Kind != FewFiles:
		return nil
	}
	n := uint64(m.Number)
	return os.NewSyscallError("setrlimit", unix.Setrlimit(resource, &unix.Rlimit{Cur: n, Max: n}))
}

// cover mounts an empty file system on dir. Nobody outside sees it.
func cover(dir, options string) error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make the mounts private: %w", err)
	}
	if err := unix.Mount("none", dir, "tmpfs", 0, options); err != nil {
		return fmt.Errorf("mount on %s: %w", dir, err)
	}
	return nil
}

// replaceProc mounts the /proc of a PID namespace that has ended. A process in that
// namespace does it: this program, started again.
func replaceProc() error {
	const inside = "CORRAL_POOR_INSIDE"
	if os.Getenv(inside) != "" {
		if err := unix.Mount("proc", "/proc", "proc", 0, ""); err != nil {
			return fmt.Errorf("mount /proc: %w", err)
		}
		os.Exit(0)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make the mounts private: %w", err)
	}
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Env = append(os.Environ(), inside+"=1")
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWPID}
	if os.Geteuid() != 0 {
		cmd.SysProcAttr.AmbientCaps = []uintptr{unix.CAP_SYS_ADMIN}
	}
	return cmd.Run()
}

// fill leaves no room in dir, and makes it the working directory.
func fill(dir string) error {
	if err := os.Chdir(dir); err != nil {
		return err
	}
	f, err := os.Create("full")
	if err != nil {
		return err
	}
	defer f.Close()
	for block := make([]byte, 4096); err == nil; {
		_, err = f.Write(block)
	}
	if !errors.Is(err, unix.ENOSPC) {
		return err
	}
	return nil
}

// Offsets in struct seccomp_data. The filters read 32 bits there.
const (
	offsetNumber = 0
	offsetArg0   = 16
)

// refuse makes system calls fail, for this thread and what it executes. It holds
// for programs of this architecture alone: the tests start no others.
func refuse(kind Kind) error {
	give := func(result uint32) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: result}
	}
	load := func(offset uint32) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: offset}
	}
	equal := func(k, otherwise int) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: uint32(k), Jf: uint8(otherwise)}
	}
	program := []unix.SockFilter{load(offsetNumber)}
	call := func(number int, errno syscall.Errno) {
		program = append(program, equal(number, 1), give(unix.SECCOMP_RET_ERRNO|uint32(errno)))
	}
	with := func(number, arg0 int, errno syscall.Errno) {
		program = append(program, equal(number, 4), load(offsetArg0), equal(arg0, 1),
			give(unix.SECCOMP_RET_ERRNO|uint32(errno)), give(unix.SECCOMP_RET_ALLOW))
	}
	switch kind {
	case NoSubreaper:
		with(unix.SYS_PRCTL, unix.PR_SET_CHILD_SUBREAPER, unix.EPERM)
	case NoClone3:
		call(unix.SYS_CLONE3, unix.ENOSYS)
	case NoPidfds:
		call(unix.SYS_PIDFD_OPEN, unix.ENOSYS)
		call(unix.SYS_PIDFD_SEND_SIGNAL, unix.ENOSYS)
		call(unix.SYS_CLONE3, unix.ENOSYS) // which could ask for one
		with(unix.SYS_WAITID, unix.P_PIDFD, unix.ENOSYS)
	case NoWaitid:
		call(unix.SYS_WAITID, unix.EPERM)
	case NoPoll:
		call(unix.SYS_PPOLL, unix.EPERM)
	default:
		return fmt.Errorf("no such kind: %q", kind)
	}
	program = append(program, give(unix.SECCOMP_RET_ALLOW))
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("set no_new_privs: %w", err)
	}
	prog := &unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]}
	if err := unix.Prctl(unix.PR_SET_SECCOMP, unix.SECCOMP_MODE_FILTER, uintptr(unsafe.Pointer(prog)), 0, 0); err != nil {
		return fmt.Errorf("install the seccomp filter: %w", err)
	}
	return nil
}
