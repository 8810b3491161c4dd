package stop

import (
	"os/exec"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// TestExists: the numbers are those that the kernel takes, of which a zombie tells
// without harm.
func TestExists(t *testing.T) {
	zombie := exec.Command("true")
	if err := zombie.Start(); err != nil {
		t.Fatal(err)
	}
	defer zombie.Wait()
	for {
		err := unix.Waitid(unix.P_PID, zombie.Process.Pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
		if err == nil {
			break
		}
		if err != unix.EINTR {
			t.Fatal(err)
		}
	}
	for sig := syscall.Signal(-2); sig < 300; sig++ {
		if takes := unix.Kill(zombie.Process.Pid, sig) != unix.EINVAL; takes != Exists(sig) {
			t.Errorf("%d: the kernel takes it: %v; want %v", int(sig), takes, Exists(sig))
		}
	}
	if Exists(nil) {
		t.Error("no signal is one")
	}
}
