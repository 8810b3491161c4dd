package escape

import (
	"errors"
	"os"
	"runtime"
	"syscall"
	"time"
	"unsafe"

	"github.com/corral-run/corral/internal/proctree"
	"golang.org/x/sys/unix"
)

// The leader has started it, yet no look at the leader's children finds it.
var _ = add(Child{
	Name: "clone-parent",
	Doc: `a "sibling", which the leader has started as a child of its own parent (CLONE_PARENT) ` +
		`and which leads a session of its own`,
	Members: 2,
}, parts{"leader": func(p *process) {
	p.named(p.sibling(), "sibling")
	p.lead()
}})

// sibling starts a sleep(1) as a child of this process's parent, and returns its
// PID.
func (p *process) sibling() int {
	path, argv, err := p.sleep()
	if err != nil {
		p.fail(err)
	}
	path0, err1 := unix.BytePtrFromString(path)
	argv0, err2 := syscall.SlicePtrFromStrings(argv)
	if err := errors.Join(err1, err2); err != nil {
		p.fail(err)
	}
	none := make([]*byte, 1)
	unblock := blockAll(p)
	pid, errno := cloneSibling(path0, &argv0[0], &none[0], uintptr(firstFile+1))
	unblock()
	if errno != 0 {
		p.fail(os.NewSyscallError("clone", errno))
	}
	runtime.KeepAlive(argv0)
	// It is complete when it has become the sleep.
	for {
		row, err := proctree.Lookup(pid)
		if err != nil || len(row.Args) > 0 && row.Args[0] == argv[0] && row.SID == pid {
			return pid
		}
		if row.State == proctree.Zombie {
			p.fail(errors.New("the sibling has ended"))
		}
		time.Sleep(time.Millisecond)
	}
}

// cloneSibling returns in this process alone: the other one executes path, with the
// descriptor fd, or ends. It inherits the blocked signals.
//
//go:norace
//go:nosplit
func cloneSibling(path *byte, argv, env **byte, fd uintptr) (int, syscall.Errno) {
	pid, _, errno := syscall.RawSyscall6(unix.SYS_CLONE, unix.CLONE_PARENT|uintptr(unix.SIGCHLD), 0, 0, 0, 0, 0)
	if errno != 0 || pid != 0 {
		return int(pid), errno
	}
	syscall.RawSyscall(unix.SYS_SETSID, 0, 0, 0)
	syscall.RawSyscall(unix.SYS_FCNTL, fd, unix.F_SETFD, 0)
	syscall.RawSyscall(unix.SYS_EXECVE, uintptr(unsafe.Pointer(path)), uintptr(unsafe.Pointer(argv)), uintptr(unsafe.Pointer(env)))
	for {
		syscall.RawSyscall(unix.SYS_EXIT_GROUP, failed, 0, 0)
	}
}
