package keeper

import (
	"bufio"
	"fmt"
	"os"
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
	cmd := exec.Command("sh", "-c", "cat <&3 & echo $!; sleep 50 3<&- >/dev/null & echo $!; wait")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	cmd.ExtraFiles = []*os.File{r}
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
	r.Close()
	if h, err := proctree.Open(ids[1]); err == nil {
		if err := h.Wait(t.Context()); err != nil {
			t.Error(err)
		}
		h.Close()
	}
	// One that has got SIGKILL may be there, but does nothing more.
	fmt.Fprintln(w, "here")
	var said string
	if fmt.Fscan(lines, &said); said != "here" {
		t.Errorf("who has been let go of says %q", said)
	}
}
