package pgtest

import (
	"os"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// self leads to the test binary also for a user who may not enter the directory
// that it is in.
const self = "/proc/self/exe"

// threadsEnd: the main thread of a process can end without the others.
const threadsEnd = true

func exitThread() { unix.Syscall(unix.SYS_EXIT, 0, 0, 0) }

// Recycle starts a bystander that has the given PID, which must be free, and so
// leads a group of that number. It skips the test for a caller who may not choose
// the next PID, as root may. A clock tick passes before, as no PID is used again
// within one and start times are counted in ticks.
func Recycle(t testing.TB, pid int) Bystander {
	t.Helper()
	started := func() uint64 {
		b := StartBystander(t)
		b.End(t)
		return b.IDs[0].Start
	}
	for now := started(); started() == now; {
	}
	// Other forks in the same PID namespace may snatch it. They are other tests'
	// then, which end within a minute.
	for end := time.Now().Add(90 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
		err := os.WriteFile("/proc/sys/kernel/ns_last_pid", []byte(strconv.Itoa(pid-1)), 0)
		if err != nil {
			t.Skip("SKIPPED, needs root, to have a PID given out again:", err)
		}
		b := StartBystander(t)
		if b.PID == pid {
			return b
		}
		b.End(t)
	}
	t.Fatalf("PID %d was not given out again", pid)
	panic("unreachable")
}
