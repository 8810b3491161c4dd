package corral_test

import (
	"errors"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/corral-run/corral"
	"github.com/corral-run/corral/internal/escape"
	"github.com/corral-run/corral/internal/proctree"
	"github.com/corral-run/corral/internal/wire/code"
)

// TestKeeperStopped: a member that stops the keeper stops nothing else, not even
// the start, of which the keeper may not have told yet.
func TestKeeperStopped(t *testing.T) {
	need(t, corral.Keeper)
	cmd := contained(corral.Keeper, "sh", "-c", "sleep 60 & kill -STOP $PPID; exit 3")
	var exit *corral.ExitError
	if err := cmd.Run(); !errors.As(err, &exit) || exit.ExitCode() != 3 {
		t.Fatalf("Run: %v", err)
	}
	if left := cmd.Report().Leftovers; len(left) != 1 || left[0].Fate != corral.Signalled {
		t.Errorf("leftovers %v", left)
	}
}

// TestLeaderIsTheProcess: what the caller gets to see of a run with a keeper is
// the leader.
func TestLeaderIsTheProcess(t *testing.T) {
	for _, cont := range []corral.Containment{corral.PIDNS, corral.Keeper} {
		t.Run(string(cont), func(t *testing.T) {
			need(t, cont)
			pidfd := -1
			cmd := contained(cont, "sh", "-c", "i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done; read x; exit 7")
			cmd.SysProcAttr = &syscall.SysProcAttr{PidFD: &pidfd}
			stdin, err := cmd.StdinPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			defer func() {
				if pidfd >= 0 {
					syscall.Close(pidfd)
				}
			}()
			members, err := cmd.Members()
			// Start returns in the midst of exec(2), as that of os/exec does: for a moment the
			// process may still bear the keeper's name and arguments, or none.
			unnamed := func() bool {
				return err == nil && len(members) == 1 && (strings.HasPrefix(members[0].Command[0], "[") || members[0].Command[0] == code.KeeperRole)
			}
			for began := time.Now(); unnamed() && time.Since(began) < 10*time.Second; {
				members, err = cmd.Members()
			}
			if err != nil || len(members) != 1 || members[0].PID != cmd.Process.Pid || members[0].Command[0] != "sh" {
				t.Errorf("members %v, %v; the process is %d", members, err, cmd.Process.Pid)
			}
			if err := cmd.Process.Signal(syscall.Signal(0)); err != nil {
				t.Error(err)
			}
			stdin.Close()
			var exit *corral.ExitError
			if err := cmd.Wait(); !errors.As(err, &exit) || exit.ExitCode() != 7 || exit.Pid() != cmd.Process.Pid {
				t.Errorf("Wait: %v, %v", err, exit)
			}
			if pidfd < 0 && proctree.EventDriven() { // else there are none
				t.Error("no pidfd")
			}
			if r := cmd.Report(); r.UserTime <= 0 || r.PeakMemory <= 0 {
				t.Errorf("%v user time, %d bytes", r.UserTime, r.PeakMemory)
			}
			if err := cmd.Process.Kill(); !errors.Is(err, os.ErrProcessDone) {
				t.Errorf("Kill after Wait: %v", err)
			}
		})
	}
}

// TestLeaderEndsBySignal: also if it is one that a Go program would print a
// trace for.
func TestLeaderEndsBySignal(t *testing.T) {
	for _, cont := range containments {
		t.Run(string(cont), func(t *testing.T) {
			need(t, cont)
			for _, name := range []string{"TERM", "QUIT", "SEGV", "ABRT", "KILL", "USR1", "PIPE"} {
				script := "ulimit -c 0; kill -" + name + " $$; sleep 60"
				theirs := exec.Command("sh", "-c", script)
				want := theirs.Run()
				cmd := contained(cont, "sh", "-c", script)
				err := cmd.Run()
				if err == nil || want == nil || err.Error() != want.Error() || cmd.Report().Signal != "SIG"+name {
					t.Errorf("%s: %v, %s; os/exec: %v", name, err, cmd.Report().Signal, want)
				}
			}
		})
	}
}

// TestCannotBeKilled: a member that the system does not end, here one in a frozen
// control group of version 1, is named, and nobody waits for it for ever: neither
// the keeper's end nor that of the PID namespace, which comes when all its members
// have.
func TestCannotBeKilled(t *testing.T) {
	freezer := "/sys/fs/cgroup/freezer"
	dir, err := os.MkdirTemp(freezer, "corral-test-")
	if err != nil {
		t.Skip("SKIPPED: ", err)
	}
	thaw := func() { os.WriteFile(dir+"/freezer.state", []byte("THAWED"), 0) }
	t.Cleanup(func() {
		thaw()
		eventually(t, "the control group is not empty", func() bool { return os.Remove(dir) == nil })
	})
	for _, cont := range []corral.Containment{corral.PIDNS, corral.Keeper, corral.Cgroup} {
		for _, who := range []string{"leader", "leftover"} {
			t.Run(string(cont)+"/"+who, func(t *testing.T) {
				need(t, cont)
				script := "exec sleep 60"
				if who == "leftover" {
					script = "sleep 60 & echo; read x; exit 0" // with another status, that is the error
				}
				cmd := contained(cont, "sh", "-c", script)
				cmd.StopPlan = corral.StopPlan{}
				stdin, err := cmd.StdinPipe()
				if err != nil {
					t.Fatal(err)
				}
				if err := cmd.Start(); err != nil {
					t.Fatal(err)
				}
				frozen := cmd.Process.Pid
				if who == "leftover" {
					frozen = leftoverPID(t, cmd)
				}
				freeze(t, dir, frozen)
				defer thaw()
				if who == "leftover" {
					stdin.Close()
				} else if err := cmd.Stop(t.Context()); !errors.As(err, new(*corral.SurvivorError)) {
					t.Errorf("Stop: %v", err)
				}
				ended := make(chan error, 1)
				go func() { ended <- cmd.Wait() }()
				select {
				case err := <-ended:
					var survivors *corral.SurvivorError
					if !errors.As(err, &survivors) || len(survivors.Survivors) != 1 || survivors.Survivors[0].PID != frozen {
						t.Errorf("Wait: %v", err)
					}
				case <-time.After(30 * time.Second):
					t.Fatal("Wait has not returned")
				}
				// It has been told to end, and does as soon as it can.
				thaw()
				eventually(t, "it lives on", func() bool {
					row, err := proctree.Lookup(frozen)
					return err != nil || !row.Alive() || row.PPID != cmd.Process.Pid && row.PPID <= 1
				})
			})
		}
	}
}

// leftoverPID waits for a member besides the leader, and returns its PID.
func leftoverPID(t *testing.T, cmd *corral.Cmd) int {
	t.Helper()
	pid := cmd.Process.Pid
	eventually(t, "there is no leftover", func() bool {
		for _, m := range must(cmd.Members())(t) {
			if m.PID != cmd.Process.Pid {
				pid = m.PID
			}
		}
		return pid != cmd.Process.Pid
	})
	return pid
}

// freeze moves the process into the control group of version 1, and freezes that.
func freeze(t *testing.T, dir string, pid int) {
	t.Helper()
	if err := os.WriteFile(dir+"/cgroup.procs", []byte(strconv.Itoa(pid)), 0); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(dir+"/freezer.state", []byte("FROZEN"), 0); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it does not freeze", func() bool {
		state, err := os.ReadFile(dir + "/freezer.state")
		return err == nil && string(state) == "FROZEN\n"
	})
}

func must[T any](v T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// TestKeepUnderPIDNS: the kernel ends all members of a PID namespace with its init,
// so there leftovers are not kept, and the Report does not say so.
func TestKeepUnderPIDNS(t *testing.T) {
	need(t, corral.PIDNS)
	cmd := corral.Command("true")
	cmd.Containment, cmd.Require, cmd.Leftovers = corral.PIDNS, corral.PIDNS, corral.KeepLeftovers
	var none *corral.ContainmentError
	if err := cmd.Run(); !errors.As(err, &none) || !strings.Contains(err.Error(), "cannot be kept") {
		t.Errorf("Run: %v", err)
	}
	cmd = corral.Command("true")
	cmd.Containment, cmd.Leftovers = corral.PIDNS, corral.KeepLeftovers
	if err := cmd.Run(); err != nil || cmd.Report().Containment == corral.PIDNS || len(cmd.Report().Declined) == 0 {
		t.Errorf("Run: %v, %+v", err, cmd.Report())
	}
}

// TestKeeperTurns: a keeper has short turns, so that members that fork and end all
// the time do not keep it from its work, and members have the usual ones.
func TestKeeperTurns(t *testing.T) {
	need(t, corral.Keeper)
	escape.NeedTurns(t)
	usual, err := escape.TurnLength(0)
	if err != nil {
		t.Fatal(err)
	}
	probe := escape.NewProbe(t, stubborn)
	o := startOwner(t, newNest(t, false), probe, program{Containment: corral.Keeper})
	members := probe.Ready(t.Context())
	keeper := o.helper("corral-keeper")
	eventually(t, "the keeper has no short turns", func() bool {
		turn, err := escape.TurnLength(keeper.PID)
		if err != nil {
			t.Fatal(err)
		}
		return turn == escape.ShortTurn
	})
	for _, m := range members {
		if turn, err := escape.TurnLength(m.ID.PID); err != nil || turn != usual {
			t.Errorf("%s has turns of %v, want %v: %v", m.Role, turn, usual, err)
		}
	}
}
