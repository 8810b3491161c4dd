//go:build !linux

package corral

import "syscall"

// needsOwnThread is about Linux only.
func needsOwnThread(*syscall.SysProcAttr) bool { return false }
