package escape

import (
	"time"

	"golang.org/x/sys/unix"
)

// Urgent gives a thread of this process, 0 for the calling one, priority where it
// may, and short turns on the processor. So processes that fork and end all the time,
// each of which begins with a short turn, do not keep the scheduler from it (EEVDF,
// Linux 6.6). What it forks gets the same, or nothing of it. The length of a turn is
// taken from Linux 6.12 on, and needs no permission.
func Urgent(tid int, alone bool) {
	attr := &unix.SchedAttr{Size: unix.SizeofSchedAttr, Runtime: uint64(100 * time.Microsecond)}
	if alone {
		attr.Flags = unix.SCHED_FLAG_RESET_ON_FORK
	}
	for _, attr.Nice = range []int32{-20, 0} {
		if unix.SchedSetAttr(tid, attr, 0) == nil {
			return
		}
	}
}

// NotUrgent takes that back from the calling thread.
func NotUrgent() { unix.SchedSetAttr(0, &unix.SchedAttr{Size: unix.SizeofSchedAttr}, 0) }
