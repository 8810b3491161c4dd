package escape

import (
	"os/exec"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// Zombies starts n children of the calling thread, and returns their PIDs when all
// have ended. Those that are left at the end of the test are reaped.
func Zombies(t testing.TB, n int) (pids map[int]bool) {
	t.Helper()
	pids = make(map[int]bool)
	t.Cleanup(func() {
		for pid := range pids {
			syscall.Wait4(pid, nil, 0, nil)
		}
	})
	for range n {
		cmd := exec.Command("true")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		pids[cmd.Process.Pid] = true
		cmd.Process.Release()
	}
	for pid := range pids {
		if err := unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil); err != nil {
			t.Fatal(err)
		}
	}
	return pids
}

// DropReaped removes those that are no zombies any more.
func DropReaped(pids map[int]bool) {
	for pid := range pids {
		if err := unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT|unix.WNOHANG, nil); err == unix.ECHILD {
			delete(pids, pid)
		}
	}
}
