package corral

import "syscall"

// withoutAmbient leaves it to the helper to raise the command's ambient capabilities, so
// that one who may not is told so of the command. In a new user namespace the helper
// needs them, too: by execve(2) a user other than root loses all others.
func withoutAmbient(attr *syscall.SysProcAttr) {
	if (attr.Cloneflags|attr.Unshareflags)&syscall.CLONE_NEWUSER == 0 {
		attr.AmbientCaps = nil
	}
}
