//go:build unix

package escape

import (
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"testing"

	"github.com/corral-run/corral/internal/proctree"
)

// StartBystander starts a process in a group of its own, which has nothing to do
// with any run. When the test ends, it fails if the process has been stopped or
// has got a signal that would end it.
func StartBystander(t testing.TB) *os.Process {
	t.Helper()
	cmd := exec.Command("sleep", strconv.Itoa(int(Lifetime.Seconds())))
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		row, err := proctree.Lookup(cmd.Process.Pid)
		if err != nil {
			t.Errorf("bystander: %v", err)
		}
		if row.State == proctree.Stopped {
			t.Error("the bystander was stopped")
		}
		// Nobody else sends SIGPROF: if the bystander dies of it, nothing killed it
		// before. It has not been reaped, so the PID is still its own.
		for _, sig := range []syscall.Signal{syscall.SIGPROF, syscall.SIGCONT} {
			if err := cmd.Process.Signal(sig); err != nil {
				t.Errorf("bystander: %v", err)
			}
		}
		cmd.Wait()
		if status := cmd.ProcessState.Sys().(syscall.WaitStatus); status.Signal() != syscall.SIGPROF {
			t.Errorf("the bystander did not live to the end: %v", cmd.ProcessState)
		}
	})
	return cmd.Process
}
