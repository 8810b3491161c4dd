package corral_test

import "golang.org/x/sys/unix"

// Linux on 32-bit ARM has the second mmap alone.
const sysMmap = unix.SYS_MMAP2
