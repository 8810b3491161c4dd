//go:build darwin || freebsd

package corral

import "syscall"

// withoutAmbient: ambient capabilities are Linux's.
func withoutAmbient(*syscall.SysProcAttr) {}
