package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/corral-run/corral"
)

// forEachEnding runs a test with each way to run a command that ends like it;
// corral is the command with its flags.
func forEachEnding(t *testing.T, test func(t *testing.T, corral string)) {
	forTerminal(t, func(t *testing.T, corral string) {
		for name, with := range map[string]string{
			"run": corral, "init": strings.Replace(corral, "corral", "corral init", 1), "pty": strings.Replace(corral, "corral", "corral --pty", 1),
		} {
			t.Run(name, func(t *testing.T) { test(t, with) })
		}
	})
}

// ended waits for a program, and returns the signal that has ended it, or its exit
// status.
func ended(cmd *exec.Cmd) (signal syscall.Signal, status int) {
	timer := time.AfterFunc(lifetime, func() { cmd.Process.Kill() })
	defer timer.Stop()
	cmd.Wait()
	ws := cmd.ProcessState.Sys().(syscall.WaitStatus)
	if ws.Signaled() {
		return ws.Signal(), -1
	}
	return 0, ws.ExitStatus()
}

// TestEndsLike: a signal that corral has got and that has ended the command ends
// corral, too, when all else has been done. One that has come from elsewhere does
// not.
func TestEndsLike(t *testing.T) {
	const script = "ulimit -c 0; echo ready; exec sleep 60"
	forEachEnding(t, func(t *testing.T, with string) {
		for _, sig := range []syscall.Signal{unix.SIGHUP, unix.SIGINT, unix.SIGQUIT, unix.SIGTERM, unix.SIGUSR1} {
			t.Run(unix.SignalName(sig), func(t *testing.T) {
				report := filepath.Join(t.TempDir(), "report.json")
				args := strings.Fields(strings.Replace(with, " --", " --report "+report+" --", 1))
				cmd := exec.Command(args[0], append(args[1:], "sh", "-c", "sleep 59 & "+script)...)
				var stderr bytes.Buffer
				cmd.Stderr = &stderr
				cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // no terminal
				stdout, err := cmd.StdoutPipe()
				if err != nil {
					t.Fatal(err)
				}
				if err := cmd.Start(); err != nil {
					t.Fatal(err)
				}
				if line, err := bufio.NewReader(stdout).ReadString('\n'); strings.TrimSpace(line) != "ready" {
					t.Fatalf("%q, %v", line, err)
				}
				cmd.Process.Signal(sig)
				if got, status := ended(cmd); got != sig {
					t.Errorf("ended by %v, status %d: %s", got, status, &stderr)
				}
				var r corral.Report
				b, err := os.ReadFile(report)
				if err == nil {
					err = json.Unmarshal(b, &r)
				}
				if err != nil || r.Signal != unix.SignalName(sig) {
					t.Errorf("report %s, %v", b, err)
				}
				if r.Ending == corral.Exited && len(r.Leftovers) > 0 && !strings.Contains(stderr.String(), "stopped 1 leftover process") {
					t.Errorf("said %q", &stderr)
				}
			})
		}
		args := strings.Fields(with)
		for _, script := range []string{"kill -TERM $$", "kill -KILL $$", "kill -INT $$"} {
			cmd := exec.Command(args[0], append(args[1:], "sh", "-c", script)...)
			cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
			want := 128 + int(unix.SignalNum("SIG"+strings.Fields(script)[1][1:]))
			cmd.Start()
			if got, status := ended(cmd); status != want {
				t.Errorf("%s: ended by %v, status %d; want %d", script, got, status, want)
			}
		}
	})
}

// TestEndsByStatus: what says more than the signal has the last word.
func TestEndsByStatus(t *testing.T) {
	for _, tt := range []struct {
		args   string
		sig    syscall.Signal
		status int
	}{
		{"corral init --exit-zero-on 143 -- sh -c", unix.SIGTERM, 0},
		{"corral --signal INT -- sh -c", unix.SIGTERM, 130}, // it has got another one
	} {
		args := strings.Fields(tt.args)
		cmd := exec.Command(args[0], append(args[1:], "echo ready; exec sleep 60")...)
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
		stdout, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		bufio.NewReader(stdout).ReadString('\n')
		cmd.Process.Signal(tt.sig)
		if got, status := ended(cmd); status != tt.status {
			t.Errorf("%s: ended by %v, status %d; want %d", tt.args, got, status, tt.status)
		}
	}
}

// TestCtrlCEndsScript: a script and a loop at the prompt end by Ctrl-C, as they do
// without corral.
func TestCtrlCEndsScript(t *testing.T) {
	if _, err := exec.LookPath("bash"); err != nil {
		t.Skip("SKIPPED: no bash")
	}
	test := func(t *testing.T, with string) {
		loop := "for i in 1 2 3; do echo round $((i)); " + with + ` sh -c 'printf ready; printf "\n"; exec sleep 60'; done; echo went $((40+2))`
		raw := strings.Contains(with, "--pty")
		t.Run("script", func(t *testing.T) {
			s := inTerminal(t, 200, nil, "bash", "-c", loop)
			s.expect("ready")
			s.interrupt(raw)
			_, shown := s.end(t)
			if ws := s.cmd.ProcessState.Sys().(syscall.WaitStatus); !ws.Signaled() || ws.Signal() != unix.SIGINT || strings.Contains(shown, "round 2") {
				t.Errorf("%v, shown %q", s.cmd.ProcessState, shown)
			}
		})
		t.Run("prompt", func(t *testing.T) {
			s := bash(t)
			s.types(loop + "\n")
			s.expect("\nround 1")
			s.expect("\nready")
			s.interrupt(raw)
			if shown := s.expect("ready> "); strings.Contains(shown, "round") || strings.Contains(shown, "went 42") {
				t.Errorf("shown %q", shown)
			}
		})
	}
	t.Run("without", func(t *testing.T) { test(t, "") })
	t.Run("timeout", func(t *testing.T) { test(t, "corral timeout 60") })
	forEachEnding(t, test)
}

// interrupt types Ctrl-C, when the terminal is set to raw mode if that is to be.
func (s *screen) interrupt(raw bool) {
	s.t.Helper()
	for deadline := time.Now().Add(lifetime / 2); raw && s.modes().Lflag&(unix.ICANON|unix.ISIG) != 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			s.t.Fatal("the terminal is not set to raw mode")
		}
	}
	s.types("\x03")
}
