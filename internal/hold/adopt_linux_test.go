package hold

import (
	"os/exec"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

type helped struct {
	Containment
	facts Facts
}

func (h helped) Facts() Facts { return h.facts }

// TestAlone: beside a helper, and a leader that has ended, there is nobody to look
// at; beside any other child there may be.
func TestAlone(t *testing.T) {
	runtime.LockOSThread() // whose children they are
	defer runtime.UnlockOSThread()
	start := func(name string, args ...string) *exec.Cmd {
		t.Helper()
		cmd := exec.Command(name, args...)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
		return cmd
	}
	for _, adopts := range []bool{false, true} {
		a := new(adopting)
		defer a.children.Close()
		a.thread.Store(int64(unix.Gettid()))
		a.started.Store(true)
		check := func(what string, want bool) {
			t.Helper()
			if got := a.alone(); got != want {
				t.Errorf("the helper adopts: %v; with %s, alone: %v", adopts, what, got)
			}
		}
		a.Containment = helped{}
		check("nobody", true)

		helper := start("sleep", "60")
		check("a child that is not known", false)
		a.Containment = helped{facts: Facts{HelperPID: helper.Process.Pid, Adopts: adopts}}
		check("a helper", true)

		leader := start("sleep", "60")
		a.leader.Store(int64(leader.Process.Pid))
		check("a leader", false)
		leader.Process.Kill()
		unix.Waitid(unix.P_PID, leader.Process.Pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
		check("a leader that has ended", true)

		other := start("true")
		unix.Waitid(unix.P_PID, other.Process.Pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
		check("another child that has ended", false)
		other.Wait()
		check("a leader that has ended, again", true)

		leader.Wait()
		a.leader.Store(0)
		check("a helper, when the leader has been reaped", true)
		helper.Process.Kill()
		helper.Wait()
		check("a helper that has been reaped", false)
	}
}
