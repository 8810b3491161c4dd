package corral

import "syscall"

// needsOwnThread reports whether the thread that starts the command must live
// as long as the command does: the kernel sends the parent-death signal when
// the thread that forked ends, not the process (golang/go#27505).
func needsOwnThread(attr *syscall.SysProcAttr) bool { return attr != nil && attr.Pdeathsig != 0 }
