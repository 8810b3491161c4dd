package keeper

import (
	"bufio"
	"fmt"
	"os/exec"
	"syscall"
	"testing"

	"github.com/corral-run/corral/internal/hold"
	"github.com/corral-run/corral/internal/pgroup"
	"github.com/corral-run/corral/internal/proctree"
)

// TestKillGroup: who has been let go of stays when the owner kills the leader's group
// in place of a keeper that is lost.
func TestKillGroup(t *testing.T) {
	cont, err := Open(hold.Request{Spares: true})
	if err != nil {
		t.Skip("SKIPPED: ", err)
	}
	k := cont.(*containment)
	cmd := exec.Command("sh", "-c", "sleep 50 >/dev/null & echo $!; sleep 50 >/dev/null & echo $!; wait")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()
	defer syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // its PID is its own until Wait
	var ids [2]proctree.ID
	lines := bufio.NewReader(out)
	for i := range ids {
		var pid int
		if _, err := fmt.Fscan(lines, &pid); err != nil {
			t.Fatal(err)
		}
		if ids[i], err = proctree.Identify(pid); err != nil {
			t.Fatal(err)
		}
	}
	group, err := pgroup.Open(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	defer group.Close()
	k.spared.Add(ids[0])
	k.killGroup(group)
	for i, kept := range []bool{true, false} {
		h, err := proctree.Open(ids[i])
		if err == nil && !kept {
			err = h.Wait(t.Context())
		}
		if _, lives := proctree.Live(ids[i]); lives != kept {
			t.Errorf("process %d, let go of: %v, lives: %v (%v)", i, kept, lives, err)
		}
		if h != nil {
			h.Close()
		}
	}
}
