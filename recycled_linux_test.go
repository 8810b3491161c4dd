package corral_test

import (
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/corral-run/corral"
	"github.com/corral-run/corral/internal/escape"
	"github.com/corral-run/corral/internal/proctree"
)

// TestRecycledLeader: an owner that has lost its keeper, and with it the leader,
// while it could not look, kills nobody who has got the leader's PID since.
func TestRecycledLeader(t *testing.T) {
	need(t, corral.Keeper)
	probe := escape.NewProbe(t, child("plain"))
	o := startOwner(t, nil, probe, program{Containment: corral.Keeper}) // what its keeper had is left: see ErrKeeperLost
	var leader proctree.ID
	for _, m := range probe.Ready(t.Context()) {
		if m.Role == "leader" {
			leader = m.ID
		}
	}
	keeper := o.helper("corral-keeper")
	send(t, o.id, syscall.SIGSTOP)
	send(t, keeper, syscall.SIGKILL)
	eventually(t, "the leader is not reaped", func() bool { return unix.Kill(leader.PID, 0) == unix.ESRCH })
	// No PID is used again within a clock tick, in which start times are counted.
	eventually(t, "time stands still", func() bool {
		now := exec.Command("sleep", "0")
		if err := now.Start(); err != nil {
			t.Fatal(err)
		}
		defer now.Wait()
		id, err := proctree.Identify(now.Process.Pid)
		return err == nil && id.Start > leader.Start
	})
	holder := startAs(t, leader.PID)
	send(t, o.id, syscall.SIGCONT)
	if r := o.result(); !r.Report.KeeperLost {
		t.Errorf("Wait: %+v", r)
	}
	rows, err := proctree.Below(holder.Process.Pid)
	if row, lerr := proctree.Lookup(holder.Process.Pid); lerr != nil || !row.Alive() || err != nil || len(rows) != 1 {
		t.Errorf("who has the leader's PID now: %+v, %v; below it: %+v, %v", row, lerr, rows, err)
	}
}

// startAs starts a shell with a child, which has the PID. The test is skipped for
// who may not choose PIDs.
func startAs(t *testing.T, pid int) *exec.Cmd {
	t.Helper()
	for range 200 {
		// Other forks in the PID namespace may snatch it.
		if err := os.WriteFile("/proc/sys/kernel/ns_last_pid", []byte(strconv.Itoa(pid-1)), 0); err != nil {
			t.Skip("SKIPPED: needs root, to have a PID given out again: ", err)
		}
		cmd := exec.Command("sh", "-c", "sleep 60 & echo; wait")
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
		out, err := cmd.StdoutPipe()
		if err == nil {
			err = cmd.Start()
		}
		if err == nil {
			_, err = out.Read(make([]byte, 1))
		}
		if err != nil {
			t.Fatal(err)
		}
		end := func() {
			unix.Kill(-cmd.Process.Pid, unix.SIGKILL) // a group that this test has made
			cmd.Wait()
		}
		if cmd.Process.Pid == pid {
			t.Cleanup(end)
			return cmd
		}
		end()
	}
	t.Fatalf("PID %d is not given out again", pid)
	panic("unreachable")
}
