//go:build darwin || freebsd

package corral

import "syscall"

// canAdoptOrphans: only Linux can.
const canAdoptOrphans = false

func wakeAtParentsDeath() {}

func wokenAtParentsDeath(attr *syscall.SysProcAttr) *syscall.SysProcAttr { return attr }

const tiocgsid = 0x40047463 // TIOCGSID of <sys/ttycom.h>

func canGiveUp(int) bool { return true }
