package corral

import (
	"os"
	"syscall"

	"golang.org/x/sys/windows"
)

// released reports whether Release has been called. Signals other than os.Kill are
// refused in any case, but in other words.
func released(p *os.Process) bool { return p.Signal(syscall.Signal(0)) == syscall.EINVAL }

// leavesSession reports whether the command is detached from the owner's console.
func leavesSession(attr *syscall.SysProcAttr) bool {
	return attr != nil && attr.CreationFlags&windows.DETACHED_PROCESS != 0
}
