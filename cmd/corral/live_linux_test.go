package main

import (
	"context"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/corral-run/corral/internal/proctree"
)

func init() {
	// panicking is corral top when something in it is wrong, in its own goroutine or in
	// another one.
	programs["panicking"] = func() {
		c := newTop()
		c.SetContext(context.Background())
		c.SetOut(os.Stdout)
		screen, err := openLiveScreen(os.Stdout)
		if screen == nil {
			fmt.Println("no terminal", err)
			os.Exit(1)
		}
		goLive(c, panicking(os.Args[1]), screen, leastSpan)
	}
}

type panicking string

func (s panicking) look(context.Context, time.Duration) (*picture, error) {
	if s == "look" {
		panic("a mistake in a look")
	}
	return nil, nil // of which nothing can be drawn
}

func (panicking) stopRun(context.Context, string) (string, error) { return "", nil }

func (panicking) mayStop(proctree.ID) error { return nil }

// liveEnv is where the runs of a test are registered, and what its terminals are like.
func liveEnv(t *testing.T) []string {
	t.Helper()
	dir := t.TempDir()
	env := []string{"TERM=xterm", "NO_COLOR=1", "LC_ALL=C.UTF-8", "XDG_RUNTIME_DIR=" + dir, "TMPDIR=" + dir, "XDG_STATE_HOME=" + dir}
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	return env
}

// aRun starts a run in a terminal of its own, whose command tells of its signals.
func aRun(t *testing.T, env []string, name string, child ...string) (*fifo, int) {
	t.Helper()
	events := newFIFO(t)
	inTerminal(t, 80, env, append([]string{"corral", "--name", name, "--", "child", "-log", events.path}, child...)...)
	return events, events.ready()
}

// TestLiveRuns: runs are shown, and what is selected can be stopped.
func TestLiveRuns(t *testing.T) {
	env := liveEnv(t)
	web, pid := aRun(t, env, "web", "-echo", "TERM", "-last", "USR1")
	aRun(t, env, "other")
	s := inTerminal(t, 100, env, "patient", "top", "--interval", "100ms", "web")
	s.expect(enterSequence)
	s.expect("corral top: 1 run, 1 process, CPU% ")
	s.expect("web (")
	s.expect(" └─ child -log ") // the path may not fit
	// In another size.
	s.resize(7, 60)
	s.expect("\x1b[7;1H\x1b[Kq quit")
	// The process, which is not stopped without a y.
	s.types("\x1b[Bx")
	s.expect(fmt.Sprintf("y to stop process %d (child -log", pid))
	s.types("n")
	s.expect("nothing was stopped")
	s.types("x")
	s.expect("y to stop process")
	s.types("y")
	web.expect("got TERM")
	// The first thing that q does is to leave.
	s.types("q")
	s.expect(leaveSequence)
	if err := syscall.Kill(pid, syscall.SIGUSR1); err != nil {
		t.Error(err)
	}
	web.expect("got USR1")
	if status, shown := s.end(t); status != 0 || !strings.HasSuffix(shown, ": stopped 1 process\n") {
		t.Errorf("status %d, shown %q", status, shown)
	}
	s = inTerminal(t, 100, env, "corral", "top", "--interval", "100ms")
	s.expect("corral top: 1 run, 1 process") // the first one is over
	s.expect("other (")
	s.types("s")
	s.expect("y to stop run other (")
	s.types("y")
	s.expect("): stopped")
	s.expect("corral top: 0 runs, 0 processes")
	s.types("q")
	if status, shown := s.end(t); status != 0 || !strings.HasSuffix(shown, leaveSequence) {
		t.Errorf("status %d, shown %q", status, shown)
	}
}

// TestLiveTerminal: the terminal is what it was, however that ends.
func TestLiveTerminal(t *testing.T) {
	kill := func(sig syscall.Signal) func(*screen, int) {
		return func(_ *screen, pid int) { syscall.Kill(pid, sig) }
	}
	types := func(keys string) func(*screen, int) { return func(s *screen, _ int) { s.types(keys) } }
	for _, tt := range []struct {
		name, command string
		end           func(s *screen, pid int)
		status        int
	}{
		{"q", "corral top", types("q"), 0},
		{"q of a tree", "corral tree --watch $PPID", types("q"), 0},
		{"Ctrl-C", "corral top", types("\x03"), 128 + 2},
		{"Ctrl-\\", "corral top", types("\x1c"), 128 + 3},
		{"SIGTERM", "corral top", kill(syscall.SIGTERM), 128 + 15},
		{"SIGHUP", "corral top", kill(syscall.SIGHUP), 128 + 1},
		{"SIGQUIT", "corral tree -w", kill(syscall.SIGQUIT), 128 + 3},
		{"SIGUSR1", "corral top", kill(syscall.SIGUSR1), 128 + 10},
		{"a panic elsewhere", "panicking look", func(*screen, int) {}, 2},
		{"a panic", "panicking draw", func(*screen, int) {}, 2},
		{"after SIGSTOP", "corral top", func(s *screen, pid int) {
			syscall.Kill(pid, syscall.SIGSTOP)
			comesTo(t, pid, proctree.Stopped)
			syscall.Kill(pid, syscall.SIGCONT)
			s.expect(enterSequence)
			s.types("q")
		}, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			const around = `stty -g; sh -c 'echo pid $$; exec '"$1"; s=$?; echo; echo after $(stty -g); exit $s`
			s := inTerminal(t, 80, liveEnv(t), "sh", "-c", around, "sh", tt.command)
			before := strings.TrimSpace(s.expect("\n"))
			s.expect("pid ")
			pid, err := strconv.Atoi(strings.TrimSpace(s.expect("\n")))
			if err != nil {
				t.Fatal(err)
			}
			s.expect(enterSequence)
			if !strings.HasPrefix(tt.command, "panicking") {
				s.expect(", CPU% ") // it has looked
			}
			tt.end(s, pid)
			s.expect(leaveSequence)
			status, shown := s.end(t)
			if status != tt.status {
				t.Errorf("status %d; want %d: %q", status, tt.status, shown)
			}
			if tt.status == 2 && (!strings.Contains(shown, "panic: ") || strings.Contains(tt.command, "look") && !strings.Contains(shown, "a mistake in a look")) {
				t.Errorf("shown %q", shown)
			}
			if _, after, _ := strings.Cut(shown, "\nafter "); strings.TrimSpace(after) != before {
				t.Errorf("modes %q; want %s", after, before)
			}
		})
	}
}

// TestLiveHangUp: it ends with its terminal, whether SIGHUP says so or not.
func TestLiveHangUp(t *testing.T) {
	for _, ignored := range []string{"", "trap '' HUP; "} {
		s := inTerminal(t, 80, liveEnv(t), "sh", "-c", ignored+"exec corral top")
		s.expect("corral top: 0 runs")
		s.Close()
		s.cmd.Wait()
		if ws := s.cmd.ProcessState.Sys().(syscall.WaitStatus); !ws.Signaled() || ws.Signal() != syscall.SIGHUP {
			t.Errorf("%q: %v", ignored, s.cmd.ProcessState)
		}
	}
}

// TestLiveCtrlZ: Ctrl-Z gives the terminal back as it was, and the job goes on where the
// shell lets it. The whole job stops, and not corral alone.
func TestLiveCtrlZ(t *testing.T) {
	for _, kv := range liveEnv(t) {
		name, value, _ := strings.Cut(kv, "=")
		t.Setenv(name, value)
	}
	for name, command := range map[string]string{"alone": "TERM=xterm corral top", "in a script": "TERM=xterm sh -c 'corral top; exit $?'"} {
		t.Run(name, func(t *testing.T) {
			s := bash(t)
			modes := func() string {
				s.types("echo modes $(stty -g)\n")
				s.expect("\nmodes ")
				got := s.expect("\n")
				s.expect("ready> ")
				return got
			}
			s.types("echo modes $(stty -g)\n")
			s.expect("modes ")
			s.expect("ready> ")
			before := modes()
			s.types(command + "\n")
			s.expect(enterSequence)
			s.expect("corral top: 0 runs")
			for _, stop := range []string{"\x1a", "kill"} {
				if stop == "kill" && name == "alone" {
					pid := foreground(t, s)
					syscall.Kill(pid, syscall.SIGTSTP)
				} else {
					s.types("\x1a")
				}
				s.expect(leaveSequence)
				s.expect("Stopped")
				s.expect("ready> ")
				if got := modes(); got != before {
					t.Errorf("modes %q; want %q", got, before)
				}
				s.types("fg\n")
				s.expect(enterSequence)
				s.expect("corral top: 0 runs")
			}
			s.types("q")
			s.expect(leaveSequence)
			s.expect("ready> ")
			s.types("echo status $?\n")
			s.expect("status 0")
			if got := modes(); got != before {
				t.Errorf("modes %q; want %q", got, before)
			}
		})
	}
}

// foreground is the leader of the terminal's foreground process group.
func foreground(t *testing.T, s *screen) (pid int) {
	t.Helper()
	s.control(func(fd int) (err error) {
		pid, err = unix.IoctlGetInt(fd, unix.TIOCGPGRP)
		return err
	})
	if pid <= 1 {
		t.Fatalf("foreground process group %d", pid)
	}
	return pid
}

// TestLiveBackground: in the background it waits to be in the foreground, and takes the
// modes that it finds then for those of the terminal.
func TestLiveBackground(t *testing.T) {
	for _, kv := range liveEnv(t) {
		name, value, _ := strings.Cut(kv, "=")
		t.Setenv(name, value)
	}
	s := bash(t)
	s.types("TERM=xterm corral top &\n")
	s.expect("ready> ")
	s.types("until jobs | grep Stopped; do :; done\n")
	s.expect("Stopped  ")
	s.expect("ready> ")
	s.types("fg\n")
	s.expect(enterSequence)
	s.expect("corral top: 0 runs")
	s.types("q")
	s.expect(leaveSequence)
	s.expect("ready> ")
	s.types("stty -a | grep -o '[^-]icanon'\n")
	s.expect("\n icanon")
}

// TestLiveNotInTerminal: a terminal to look at alone, or one that can do nothing, gets
// one picture.
func TestLiveNotInTerminal(t *testing.T) {
	env := liveEnv(t)
	// (A setsid that leads the terminal's process group would fork, and end it.)
	for _, command := range []string{"corral top </dev/null", "TERM=dumb corral top", "TERM= corral tree -w $$", "setsid corral top; exit $?"} {
		status, shown := inTerminal(t, 80, env, "sh", "-c", command).end(t)
		if status != 0 || strings.Contains(shown, "\x1b") || !regexp.MustCompile(`(?m)^ *PID .* COMMAND$`).MatchString(shown) {
			t.Errorf("%s: status %d, shown %q", command, status, shown)
		}
	}
}
