//go:build !arm

package corral_test

import "golang.org/x/sys/unix"

const sysMmap = unix.SYS_MMAP
