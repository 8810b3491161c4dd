//go:build darwin || freebsd

package corral

// canAdoptOrphans: only Linux can.
const canAdoptOrphans = false

func wakeAtParentsDeath() {}

const tiocgsid = 0x40047463 // TIOCGSID of <sys/ttycom.h>

func canGiveUp(int) bool { return true }
