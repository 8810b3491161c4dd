package corral_test

import (
	"errors"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"github.com/corral-run/corral"
	"github.com/corral-run/corral/internal/proctree"
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
			// Start returns when exec(2) closes descriptors, a moment before it has put the
			// arguments in their place.
			for began := time.Now(); err == nil && len(members) == 1 && members[0].Command[0] == "[sh]" && time.Since(began) < 10*time.Second; {
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
