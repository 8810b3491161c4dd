//go:build !386 && !arm

package trust

import "syscall"

const getresuid, getresgid = syscall.SYS_GETRESUID, syscall.SYS_GETRESGID
