package corral_test

import (
	"context"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/corral-run/corral"
)

// These tests hold docs/migrate.md to what it says of Corral and of os/exec, where
// no other test does.

// TestParentPID: the command's parent is the owner, but for a helper in between.
func TestParentPID(t *testing.T) {
	for _, cont := range containments {
		t.Run(string(cont), func(t *testing.T) {
			need(t, cont)
			out, err := command(cont, "sh", "-c", "echo $PPID").Output()
			if err != nil {
				t.Fatal(err)
			}
			direct := strings.TrimSpace(string(out)) == strconv.Itoa(os.Getpid())
			if want := cont == corral.Cgroup || cont == corral.Group; direct != want {
				t.Errorf("parent %s of %d: the owner's child %v, want %v", out, os.Getpid(), direct, want)
			}
		})
	}
}

// TestProcessGroup: the command is in the owner's process group unless it asks for
// its own, or group containment gives it one. With Setpgid, the group has the
// leader's PID, which is Process.Pid, under every containment, and can be killed by
// it.
func TestProcessGroup(t *testing.T) {
	for _, cont := range append([]corral.Containment{"os/exec"}, containments...) {
		for _, own := range []bool{false, true} {
			t.Run(string(cont)+"/"+strconv.FormatBool(own), func(t *testing.T) {
				script := "echo; exec sleep 60"
				attr := &syscall.SysProcAttr{Setpgid: own}
				var pid int
				var wait func() error
				if cont == "os/exec" {
					cmd := exec.Command("sh", "-c", script)
					cmd.SysProcAttr = attr
					out, _ := cmd.StdoutPipe()
					if err := cmd.Start(); err != nil {
						t.Fatal(err)
					}
					awaitLine(t, out)
					pid, wait = cmd.Process.Pid, cmd.Wait
				} else {
					need(t, cont)
					cmd := command(cont, "sh", "-c", script)
					cmd.SysProcAttr = attr
					started(t, cmd)
					pid, wait = cmd.Process.Pid, cmd.Wait
				}
				pgid, err := syscall.Getpgid(pid)
				if err != nil {
					t.Error(err)
				}
				if leads := pgid == pid; leads != (own || cont == corral.Group) || !leads && pgid != syscall.Getpgrp() {
					t.Errorf("process group %d, leader %d, the owner's group %d", pgid, pid, syscall.Getpgrp())
				}
				if pid <= 1 {
					t.Fatal(pid)
				}
				if pgid == pid {
					err = syscall.Kill(-pid, syscall.SIGTERM)
				} else {
					err = syscall.Kill(pid, syscall.SIGTERM)
				}
				if err != nil {
					t.Error(err)
				}
				if err := wait(); err == nil || err.Error() != "signal: terminated" {
					t.Errorf("Wait: %v", err)
				}
			})
		}
	}
}

// TestAttributesElsewhere: what a containment cannot have together with an
// attribute of the caller's is declined, with the reason, or an error if it is
// required.
func TestAttributesElsewhere(t *testing.T) {
	for _, tt := range []struct {
		attr syscall.SysProcAttr
		cont corral.Containment
		why  string
	}{
		{syscall.SysProcAttr{Ptrace: true}, corral.Keeper, "Ptrace"},
		{syscall.SysProcAttr{UseCgroupFD: true}, corral.Cgroup, "UseCgroupFD"},
	} {
		t.Run(string(tt.cont), func(t *testing.T) {
			need(t, tt.cont)
			cmd := command(tt.cont, "true")
			cmd.SysProcAttr = &tt.attr
			if err := cmd.Start(); err == nil || !strings.Contains(err.Error(), tt.why) {
				t.Errorf("Start: %v", err)
			}
		})
	}
}

// TestIgnoresTerm: a command that SIGTERM does not end takes the stop plan's time when
// the context is done; with an empty plan it is killed at once, as by os/exec. It says
// whether it has been told.
func TestIgnoresTerm(t *testing.T) {
	const script = "trap 'echo told' TERM; echo; while :; do sleep 0.1; done"
	for _, cont := range containments {
		t.Run(string(cont), func(t *testing.T) {
			t.Parallel()
			need(t, cont)
			for _, plan := range []corral.StopPlan{nil, {}} {
				ctx, cancel := context.WithCancel(t.Context())
				cmd := corral.CommandContext(ctx, "sh", "-c", script)
				cmd.Containment, cmd.Require, cmd.StopPlan = cont, cont, plan
				stdout, err := cmd.StdoutPipe()
				if err != nil {
					t.Fatal(err)
				}
				if err := cmd.Start(); err != nil {
					t.Fatal(err)
				}
				awaitLine(t, stdout)
				begin := time.Now()
				cancel()
				said, err := io.ReadAll(stdout)
				if want := map[bool]string{true: "told\n"}[plan == nil]; err != nil || string(said) != want {
					t.Errorf("with the plan %v it says %q, %v", plan, said, err)
				}
				if err := cmd.Wait(); err == nil || cmd.Report().Signal != "SIGKILL" {
					t.Errorf("Wait: %v, by %s", err, cmd.Report().Signal)
				}
				if slow := time.Since(begin) >= corral.DefaultStopPlan()[0].Wait; slow != (plan == nil) {
					t.Errorf("with the plan %v it takes %v", plan, time.Since(begin))
				}
			}
		})
	}
}

// TestDefaultWaitDelay: Wait waits for a second at most for output that a process
// outside of the run holds, unless WaitDelay says otherwise, and for a late Stdin.
// Under os/exec it is for ever.
func TestDefaultWaitDelay(t *testing.T) {
	hold := make(chan struct{})
	late := corral.Command("true")
	late.Stdin = readerFunc(func([]byte) (int, error) { <-hold; return 0, io.EOF })
	if err := late.Run(); err != corral.ErrWaitDelay {
		t.Errorf("a Stdin that does not come to its end in a second: %v", err)
	}
	close(hold)
	patient := corral.Command("true")
	patient.WaitDelay = time.Hour
	patient.Stdin = readerFunc(func([]byte) (int, error) { time.Sleep(2500 * time.Millisecond); return 0, io.EOF })
	if err := patient.Run(); err != nil {
		t.Errorf("with a WaitDelay, as under os/exec: %v", err)
	}
	cmd := corral.Command("sh", "-c", "sleep 60 & echo $!")
	cmd.Leftovers = corral.KeepLeftovers
	begin := time.Now()
	out, err := cmd.Output()
	pid, _ := strconv.Atoi(strings.TrimSpace(string(out)))
	if pid <= 1 {
		t.Fatalf("no PID in %q (%v)", out, err)
	}
	syscall.Kill(pid, syscall.SIGKILL)
	if took := time.Since(begin); err != corral.ErrWaitDelay || took < time.Second || took > 20*time.Second {
		t.Errorf("%v after %v", err, took)
	}
}

// TestOutputOfLateWriter: os/exec's Output waits for who still writes in the
// background, and so does Corral's if it is told to. Else the writer is stopped.
func TestOutputOfLateWriter(t *testing.T) {
	const late, never = "(sleep .2; echo late) & echo now", "(sleep 60; echo late) & echo now"
	want, err := exec.Command("sh", "-c", late).Output()
	if err != nil || string(want) != "now\nlate\n" {
		t.Fatalf("os/exec: %q, %v", want, err)
	}
	for _, cont := range containments {
		t.Run(string(cont), func(t *testing.T) {
			need(t, cont)
			cmd := command(cont, "sh", "-c", late)
			cmd.Leftovers = corral.WaitForLeftovers
			if out, err := cmd.Output(); err != nil || string(out) != string(want) {
				t.Errorf("WaitForLeftovers: %q, %v", out, err)
			}
			if out, err := command(cont, "sh", "-c", never).Output(); err != nil || string(out) != "now\n" {
				t.Errorf("%q, %v", out, err)
			}
		})
	}
}
