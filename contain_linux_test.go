package corral_test

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/corral-run/corral"
	"github.com/corral-run/corral/internal/escape"
	"github.com/corral-run/corral/internal/proctree"
	"github.com/corral-run/corral/internal/pty"
)

func init() {
	escape.Register("contain-host", containHost)
	escape.Register("contain-told", containTold)
	escape.Register("contain-stopped", containStopped)
	escape.Register("contain-high", containHigh)
}

// containers are the containments that a contained command is tried in.
var containers = []corral.Containment{corral.Cgroup, corral.Keeper}

// contain makes cmd a contained command that will be stopped soon.
func contain(t testing.TB, cont corral.Containment, cmd *exec.Cmd) {
	t.Helper()
	containWith(t, cont, cmd, corral.StopPlan{{Signal: syscall.SIGTERM, Wait: grace}})
}

func containWith(t testing.TB, cont corral.Containment, cmd *exec.Cmd, plan corral.StopPlan) {
	t.Helper()
	if err := corral.Contain(cmd, corral.ContainOptions{StopPlan: plan, Containment: cont, Require: cont}); err != nil {
		t.Fatal(err)
	}
}

// containHost is a program that contains a command and is killed: its arguments are
// the containment and the command.
func containHost(args []string) {
	cmd := exec.Command(args[1], args[2:]...)
	escape.Attach(cmd, escape.Inherited())
	cmd.Stderr = os.Stderr
	cont := corral.Containment(args[0])
	plan := corral.StopPlan{{Signal: syscall.SIGTERM, Wait: grace}}
	err := corral.Contain(cmd, corral.ContainOptions{StopPlan: plan, Containment: cont, Require: cont})
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		panic(err)
	}
	fmt.Println(cmd.Process.Pid)
	if err := cmd.Wait(); err != nil {
		fmt.Fprintln(os.Stderr, "host:", err)
		os.Exit(1)
	}
}

// containTold says which signals it gets, each on a line, and ends after SIGTERM
// with status 7.
func containTold([]string) {
	signals := make(chan os.Signal, 100)
	signal.Notify(signals)
	signal.Ignore(syscall.SIGURG, syscall.SIGCHLD)
	fmt.Println("ready")
	for sig := range signals {
		fmt.Println(int(sig.(syscall.Signal)))
		if sig == syscall.SIGTERM {
			syscall.Exit(7)
		}
	}
}

// TestContainEscape: no hostile child gets away from a contained command, whether it
// ends, is killed by who has started it, or loses that one by SIGKILL.
func TestContainEscape(t *testing.T) {
	for _, cont := range containers {
		t.Run(string(cont), func(t *testing.T) {
			need(t, cont)
			for _, child := range escape.All() {
				if testing.Short() && !slices.Contains([]string{"daemon", "ignore-term", "kill-parent", "mover"}, child.Name) {
					continue // TestEscape has them
				}
				t.Run(child.Name, func(t *testing.T) {
					if err := child.Unavailable(); err != nil {
						t.Skip("SKIPPED: ", err)
					}
					t.Run("ends", func(t *testing.T) { containedEnds(t, cont, child) })
					t.Run("killed", func(t *testing.T) { containedIsKilled(t, cont, child) })
					t.Run("host", func(t *testing.T) { containingHostIsKilled(t, cont, child) })
				})
			}
		})
	}
}

func startContained(t *testing.T, cont corral.Containment, probe *escape.Probe) *exec.Cmd {
	t.Helper()
	path, args, files := probe.Command()
	cmd := exec.Command(path, args...)
	cmd.Stderr = os.Stderr
	escape.Attach(cmd, files)
	contain(t, cont, cmd)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	probe.Started()
	return cmd
}

func containedEnds(t *testing.T, cont corral.Containment, child escape.Child) {
	t.Parallel()
	escape.StartBystander(t)
	probe := escape.NewProbe(t, child)
	cmd := startContained(t, cont, probe)
	probe.Ready(t.Context())
	probe.Release()
	cmd.Wait()
	want := cmp.Or(endings[child.Name], "exit status 0")
	if child.Name == "kill-parent" && cont == corral.Cgroup {
		want = "signal: killed" // the runner is the leader's parent
	}
	if got := cmd.ProcessState.String(); got != want {
		t.Errorf("%s, want %s", got, want)
	}
	gone(t, probe, nil)
}

func containedIsKilled(t *testing.T, cont corral.Containment, child escape.Child) {
	t.Parallel()
	escape.StartBystander(t)
	probe := escape.NewProbe(t, child)
	cmd := startContained(t, cont, probe)
	probe.Ready(t.Context())
	if err := cmd.Process.Kill(); err != nil {
		t.Error(err)
	}
	if err := cmd.Wait(); err == nil || err.Error() != "signal: killed" {
		t.Errorf("Wait: %v", err)
	}
	gone(t, probe, nil)
}

func containingHostIsKilled(t *testing.T, cont corral.Containment, child escape.Child) {
	t.Parallel()
	escape.StartBystander(t)
	probe := escape.NewProbe(t, child)
	host, _ := startContainingHost(t, cont, probe)
	probe.Ready(t.Context())
	if err := host.Process.Kill(); err != nil {
		t.Error(err)
	}
	host.Wait()
	gone(t, probe, nil)
}

// startContainingHost starts a program that contains the command of probe, and
// returns it with the runner's PID.
func startContainingHost(t *testing.T, cont corral.Containment, probe *escape.Probe) (host *exec.Cmd, runner int) {
	t.Helper()
	path, args, files := probe.Command()
	self, hostArgs := escape.Command("contain-host", append([]string{string(cont), path}, args...)...)
	host = exec.Command(self, hostArgs...)
	host.Stderr = os.Stderr
	escape.Attach(host, files)
	out, err := host.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := host.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		host.Process.Kill()
		host.Wait()
	})
	probe.Started()
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	if runner, err = strconv.Atoi(strings.TrimSpace(line)); err != nil {
		t.Fatal(err)
	}
	return host, runner
}

// TestContainHostKilled: a runner that somebody has stopped stops the run all the
// same when its parent is killed, and so does a helper if both are killed.
func TestContainHostKilled(t *testing.T) {
	for _, cont := range containers {
		for _, what := range []syscall.Signal{syscall.SIGSTOP, syscall.SIGKILL} {
			t.Run(string(cont)+"/"+what.String(), func(t *testing.T) {
				t.Parallel()
				need(t, cont)
				probe := escape.NewProbe(t, child("daemon"))
				host, runner := startContainingHost(t, cont, probe)
				probe.Ready(t.Context())
				id, err := proctree.Identify(runner)
				if err != nil {
					t.Fatal(err)
				}
				hostID, err := proctree.Identify(host.Process.Pid)
				if err != nil {
					t.Fatal(err)
				}
				if what == syscall.SIGKILL {
					send(t, hostID, syscall.SIGSTOP) // it is not to see that
				}
				send(t, id, what)
				host.Process.Kill()
				host.Wait()
				gone(t, probe, nil)
			})
		}
	}
}

// containStopped is a program that stops a runner before that has begun, and is killed.
func containStopped([]string) {
	cmd := exec.Command("true")
	cmd.Stdout = os.Stdout // it is open for as long as the runner is there
	err := corral.Contain(cmd, corral.ContainOptions{})
	if err == nil {
		err = cmd.Start()
	}
	if err == nil {
		err = cmd.Process.Signal(syscall.SIGSTOP)
	}
	if err == nil {
		var ended unix.Siginfo
		err = unix.Waitid(unix.P_PID, cmd.Process.Pid, &ended, unix.WSTOPPED|unix.WEXITED|unix.WNOWAIT, nil)
	}
	if err != nil {
		panic(err)
	}
	unix.Kill(os.Getpid(), unix.SIGKILL)
}

// TestContainHostKilledEarly: a runner that is stopped before it has come to watch its
// parent does not stay when that is killed.
func TestContainHostKilledEarly(t *testing.T) {
	t.Parallel()
	for range 5 { // some runners are faster than the signal
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		self, args := escape.Command("contain-stopped")
		host := exec.Command(self, args...)
		host.Stdout, host.Stderr = w, os.Stderr
		err = host.Run()
		w.Close()
		if host.ProcessState.String() != "signal: killed" {
			t.Fatal(err)
		}
		r.SetReadDeadline(time.Now().Add(tooLong / 2))
		if _, err := io.ReadAll(r); err != nil {
			t.Fatalf("a runner is left: %v", err)
		}
	}
}

// TestContainKill: Process.Kill kills all at once, whatever the StopPlan is.
func TestContainKill(t *testing.T) {
	for _, cont := range containers {
		t.Run(string(cont), func(t *testing.T) {
			t.Parallel()
			need(t, cont)
			probe := escape.NewProbe(t, child("ignore-term"))
			path, args, files := probe.Command()
			cmd := exec.Command(path, args...)
			escape.Attach(cmd, files)
			containWith(t, cont, cmd, patient)
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			probe.Started()
			probe.Ready(t.Context())
			cmd.Process.Kill()
			cmd.Wait()
			gone(t, probe, nil)
		})
	}
}

// told is a contained command that says which signals it gets.
type told struct {
	*testing.T
	*exec.Cmd
	out *bufio.Reader
}

func startTold(t *testing.T, cont corral.Containment, attr *syscall.SysProcAttr) told {
	t.Helper()
	path, args := escape.Command("contain-told")
	c := told{T: t, Cmd: exec.Command(path, args...)}
	c.Stderr, c.SysProcAttr = os.Stderr, attr
	contain(t, cont, c.Cmd)
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	c.out = bufio.NewReader(out)
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Process.Kill() })
	c.says("ready")
	return c
}

func (c told) says(want string) {
	c.Helper()
	if got, err := c.out.ReadString('\n'); err != nil || got != want+"\n" {
		c.Fatalf("the command says %q, want %s (%v)", got, want, err)
	}
}

// TestContainSignals: each signal that can be passed on reaches the command, once.
func TestContainSignals(t *testing.T) {
	for _, cont := range containers {
		t.Run(string(cont), func(t *testing.T) {
			t.Parallel()
			need(t, cont)
			c := startTold(t, cont, nil)
			for sig := syscall.Signal(1); sig <= 64; sig++ {
				switch sig {
				case syscall.SIGKILL, syscall.SIGSTOP, syscall.SIGCHLD, syscall.SIGURG, syscall.SIGPROF, syscall.SIGTERM, 32, 33, 34:
					continue
				}
				if err := c.Process.Signal(sig); err != nil {
					t.Fatal(sig, err)
				}
				c.says(strconv.Itoa(int(sig)))
			}
			c.Process.Signal(syscall.SIGTERM)
			c.says("15")
			if rest, err := io.ReadAll(c.out); len(rest) > 0 || err != nil {
				t.Errorf("%q, %v", rest, err)
			}
			if err := c.Wait(); err == nil || err.Error() != "exit status 7" {
				t.Errorf("Wait: %v", err)
			}
		})
	}
}

// TestContainRealTime: SIGRTMIN, of which Go's runtime does not tell programs, reaches
// the command, and does not end the runner.
func TestContainRealTime(t *testing.T) {
	for _, cont := range containers {
		t.Run(string(cont), func(t *testing.T) {
			t.Parallel()
			need(t, cont)
			bash, err := exec.LookPath("bash")
			if err != nil {
				t.Skip("SKIPPED: ", err)
			}
			// It answers when the trap is over: bash forgets a signal that comes before that.
			cmd := exec.Command(bash, "-c", "trap n=1 34; trap 'exit 7' TERM; echo ready; while :; do sleep 0.01; [ -z \"$n\" ] || { n=; echo got; }; done")
			contain(t, cont, cmd)
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			c := told{T: t, Cmd: cmd, out: bufio.NewReader(out)}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { cmd.Process.Kill() })
			c.says("ready")
			for range 5 {
				if err := cmd.Process.Signal(syscall.Signal(34)); err != nil {
					t.Fatal(err)
				}
				c.says("got")
			}
			cmd.Process.Signal(syscall.SIGTERM)
			if err := cmd.Wait(); err == nil || err.Error() != "exit status 7" {
				t.Errorf("Wait: %v", err)
			}
		})
	}
}

// TestContainGroup: a signal to the process group of the command, which has the
// number of the process, reaches the command once, whoever has made it the leader of
// a group, and when. One to the caller's group does, too, as under os/exec.
func TestContainGroup(t *testing.T) {
	for _, cont := range containers {
		for _, tt := range []struct {
			name string
			attr syscall.SysProcAttr
		}{
			{"Setpgid", syscall.SysProcAttr{Setpgid: true}},
			{"Setsid", syscall.SysProcAttr{Setsid: true}},
		} {
			t.Run(string(cont)+"/"+tt.name, func(t *testing.T) {
				t.Parallel()
				need(t, cont)
				c := startTold(t, cont, &tt.attr)
				for range 20 {
					for _, send := range []func() error{
						func() error { return syscall.Kill(-c.Process.Pid, syscall.SIGUSR1) },
						func() error { return c.Process.Signal(syscall.SIGUSR1) },
					} {
						if err := send(); err != nil {
							t.Fatal(err)
						}
						c.says("10")
					}
				}
				if err := syscall.Kill(-c.Process.Pid, syscall.SIGTERM); err != nil {
					t.Fatal(err)
				}
				c.says("15")
				if err := c.Wait(); err == nil || err.Error() != "exit status 7" {
					t.Errorf("Wait: %v", err)
				}
			})
		}
		t.Run(string(cont)+"/the caller's", func(t *testing.T) {
			t.Parallel()
			need(t, cont)
			group := exec.Command("sleep", "60") // which the command joins
			group.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
			if err := group.Start(); err != nil {
				t.Fatal(err)
			}
			defer group.Wait()
			defer group.Process.Kill()
			c := startTold(t, cont, &syscall.SysProcAttr{Setpgid: true, Pgid: group.Process.Pid})
			eventually(t, "the runner stays in the caller's group", func() bool {
				sid, err := unix.Getsid(c.Process.Pid)
				return err == nil && sid == c.Process.Pid
			})
			for range 20 {
				if err := syscall.Kill(-group.Process.Pid, syscall.SIGCONT); err != nil {
					t.Fatal(err)
				}
				c.says("18")
			}
			if err := syscall.Kill(-group.Process.Pid, syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
			c.says("15")
			if rest, err := io.ReadAll(c.out); len(rest) > 0 || err != nil {
				t.Errorf("%q, %v", rest, err)
			}
			c.Wait()
		})
	}
}

// shell is a contained sh with a script.
func shell(t *testing.T, cont corral.Containment, attr *syscall.SysProcAttr, script string, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command("sh", append([]string{"-c", script, "sh"}, args...)...)
	cmd.Stderr, cmd.SysProcAttr = os.Stderr, attr
	contain(t, cont, cmd)
	return cmd
}

// TestContainAttributes: what SysProcAttr says holds for the command.
func TestContainAttributes(t *testing.T) {
	const ids = `cut -d ' ' -f 1,5,6 /proc/$$/stat`
	leads := func(out string, pid int) bool {
		var self, group, session int
		fmt.Sscan(out, &self, &group, &session)
		return self > 0 && self != pid && group == self
	}
	for _, cont := range containers {
		for _, tt := range []struct {
			name   string
			attr   *syscall.SysProcAttr
			script string
			right  func(out string, pid int) bool // nil: the output is the same
		}{
			{"none", nil, ids, func(out string, pid int) bool {
				sid, _ := unix.Getsid(0)
				return strings.HasSuffix(out, fmt.Sprintf(" %d %d\n", unix.Getpgrp(), sid))
			}},
			{"Setpgid", &syscall.SysProcAttr{Setpgid: true}, ids, leads},
			{"Setsid", &syscall.SysProcAttr{Setsid: true}, ids, func(out string, pid int) bool {
				f := strings.Fields(out)
				return leads(out, pid) && f[0] == f[2]
			}},
			{"Credential", &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 1234, Gid: 2345, Groups: []uint32{17}}}, "id -u; id -g; id -G", nil},
			{"Cloneflags", &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWUTS}, "hostname contained; hostname", nil},
			{"AmbientCaps", &syscall.SysProcAttr{AmbientCaps: []uintptr{unix.CAP_NET_BIND_SERVICE}, Credential: &syscall.Credential{Uid: 1234, Gid: 2345}}, "grep CapAmb /proc/self/status", nil},
		} {
			t.Run(string(cont)+"/"+tt.name, func(t *testing.T) {
				t.Parallel()
				need(t, cont)
				if os.Getuid() != 0 && tt.attr != nil && (tt.attr.Credential != nil || tt.attr.Cloneflags != 0) {
					t.Skip("SKIPPED: needs root")
				}
				plain := exec.Command("sh", "-c", tt.script)
				plain.SysProcAttr = tt.attr
				want, wantErr := plain.Output()
				if exit := (*exec.ExitError)(nil); wantErr != nil && !errors.As(wantErr, &exit) {
					t.Skip("SKIPPED: os/exec: ", wantErr)
				}
				cmd := shell(t, cont, tt.attr, tt.script)
				out, err := cmd.Output()
				if fmt.Sprint(err) != fmt.Sprint(wantErr) ||
					tt.right == nil && !bytes.Equal(out, want) || tt.right != nil && !tt.right(string(out), cmd.Process.Pid) {
					t.Errorf("%q, %v; os/exec: %q, %v", out, err, want, wantErr)
				}
			})
		}
	}
}

// TestContainChroot: the command has another root, and a directory there.
func TestContainChroot(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("SKIPPED: needs root")
	}
	command := func() *exec.Cmd {
		return &exec.Cmd{
			Path: "/bin/sh", Args: []string{"sh", "-c", "pwd; ls -d /usr"}, Dir: "/bin",
			SysProcAttr: &syscall.SysProcAttr{Chroot: "/usr"},
		}
	}
	want, err := command().CombinedOutput()
	if want, _, _ := strings.Cut(string(want), "\n"); want != "/bin" {
		t.Skipf("SKIPPED: /usr is no root here: %q, %v", want, err)
	}
	for _, cont := range containers {
		t.Run(string(cont), func(t *testing.T) {
			need(t, cont)
			cmd := command()
			contain(t, cont, cmd)
			out, runErr := cmd.CombinedOutput()
			if !bytes.Equal(out, want) || fmt.Sprint(runErr) != fmt.Sprint(err) {
				t.Errorf("%q, %v; os/exec: %q, %v", out, runErr, want, err)
			}
			cmd = command()
			cmd.Path, cmd.Args = "/bin/env", nil // a shell would find out itself
			contain(t, cont, cmd)
			if out, err := cmd.Output(); err != nil || !strings.Contains("\n"+string(out), "\nPWD=/bin\n") {
				t.Errorf("without PWD=/bin: %q, %v", out, err)
			}
		})
	}
}

// TestContainRefuses: what cannot be had is an error of Contain, which leaves the
// command as it was, or of the command, which does not run.
func TestContainRefuses(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	writeFile(t, file, []byte("text"))
	ran := exec.Command("true")
	if err := ran.Run(); err != nil {
		t.Fatal(err)
	}
	twice := exec.Command("true")
	contain(t, corral.Auto, twice)
	for _, tt := range []struct {
		name string
		cmd  *exec.Cmd
		opts corral.ContainOptions
		want string
	}{
		{"started", ran, corral.ContainOptions{}, "corral: Contain: the command has been started"},
		{"twice", twice, corral.ContainOptions{}, "corral: Contain: the command is contained already"},
		{"not found", exec.Command("no-such-command"), corral.ContainOptions{}, `exec: "no-such-command": executable file not found in $PATH`},
		{"no command", &exec.Cmd{}, corral.ContainOptions{}, "exec: no command"},
		{"missing", exec.Command(filepath.Join(dir, "missing")), corral.ContainOptions{}, "fork/exec " + filepath.Join(dir, "missing") + ": no such file or directory"},
		{"not executable", exec.Command(file), corral.ContainOptions{}, "fork/exec " + file + ": permission denied"},
		{"directory", exec.Command(dir), corral.ContainOptions{}, "fork/exec " + dir + ": permission denied"},
		{"Ptrace", &exec.Cmd{Path: "/bin/true", SysProcAttr: &syscall.SysProcAttr{Ptrace: true}}, corral.ContainOptions{}, "SysProcAttr.Ptrace"},
		{"plan", exec.Command("true"), corral.ContainOptions{StopPlan: corral.StopPlan{{Wait: 1}}}, "step 1 of the stop plan has no signal"},
		{"stdin", exec.Command("true"), corral.ContainOptions{StopPlan: corral.MCPStopPlan()}, "standard input is the caller's to close"},
		{"containment", exec.Command("true"), corral.ContainOptions{Containment: "jail"}, `unknown containment "jail"`},
		{"require", exec.Command("true"), corral.ContainOptions{Containment: corral.Group, Require: corral.Keeper}, "which is stronger"},
	} {
		before := *tt.cmd
		err := corral.Contain(tt.cmd, tt.opts)
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %s", tt.name, err, tt.want)
		}
		if tt.cmd.Path != before.Path || !slices.Equal(tt.cmd.Args, before.Args) || tt.cmd.SysProcAttr != before.SysProcAttr {
			t.Errorf("%s: the command has changed", tt.name)
		}
	}

	script := filepath.Join(dir, "script")
	writeFile(t, script, []byte("#!/no/such/interpreter\n"))
	if err := os.Chmod(script, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name   string
		cmd    *exec.Cmd
		opts   corral.ContainOptions
		status int
		want   string
	}{
		{"interpreter", exec.Command(script), corral.ContainOptions{}, 127, "corral: fork/exec " + script + ": no such file or directory\n"},
		{"relative", &exec.Cmd{Path: "./file", Dir: dir}, corral.ContainOptions{}, 126, "corral: fork/exec ./file: permission denied\n"},
		{"job", exec.Command("true"), corral.ContainOptions{Containment: corral.Job, Require: corral.Job}, 125, "corral: no suitable containment"},
	} {
		var stderr bytes.Buffer
		tt.cmd.Stderr = &stderr
		if err := corral.Contain(tt.cmd, tt.opts); err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		tt.cmd.Run()
		if got := tt.cmd.ProcessState.ExitCode(); got != tt.status || !strings.HasPrefix(stderr.String(), tt.want) {
			t.Errorf("%s: status %d, %q; want %d, %q", tt.name, got, stderr.String(), tt.status, tt.want)
		}
	}
}

// TestContainEnvironment: the command has the environment that it would have
// without, whatever the caller does with Env after Contain; and none of it steers
// the runner.
func TestContainEnvironment(t *testing.T) {
	t.Setenv("GODEBUG", "inittrace=0")
	bad := []string{
		"PATH=" + os.Getenv("PATH"), "GOMEMLIMIT=bad", "GODEBUG=inittrace=1", "GOTRACEBACK=crash", "GOGC=x",
		"LD_LIBRARY_PATH=/nowhere", "LD_DEBUG_OUTPUT=/x", "CORRAL_AUTO=nothing", "CORRAL_STUB=never",
		"=x=1", "=y=2", "no-equals", "EMPTY=", "TWO=1\n2", "TWICE=a", "TWICE=b", "CORRAL_HELD_PATH=mine",
	}
	for _, tt := range []struct {
		name   string
		env    []string
		dir    string
		before func(*exec.Cmd)
		after  func(*exec.Cmd)
	}{
		{name: "nil"},
		{name: "nil and Dir", dir: "/"},
		{name: "empty", env: []string{}},
		{name: "bad", env: bad},
		{name: "appended", env: bad, after: func(c *exec.Cmd) { c.Env = append(c.Env, "MORE=1", "GOMEMLIMIT=1GiB", "PATH=/bin:/usr/bin") }},
		{name: "appended to nil", after: func(c *exec.Cmd) { c.Env = append(c.Env, "ONLY=1") }},
		{name: "appended to Environ", after: func(c *exec.Cmd) { c.Env = append(c.Environ(), "MORE=1") }},
		{name: "appended to Environ of bad", env: bad, after: func(c *exec.Cmd) { c.Env = append(c.Environ(), "MORE=1") }},
		{name: "replaced", env: bad, after: func(c *exec.Cmd) { c.Env = []string{"OTHER=1"} }},
		{name: "one less", env: bad, after: func(c *exec.Cmd) {
			c.Env = slices.DeleteFunc(c.Env, func(e string) bool { return e == "EMPTY=" })
		}},
		{name: "Setenv", before: func(*exec.Cmd) { t.Setenv("LATER", "1") }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			output := func(contains bool) string {
				cmd := exec.Command("cat", "/proc/self/environ")
				cmd.Env, cmd.Dir = slices.Clone(tt.env), tt.dir
				var stderr bytes.Buffer
				cmd.Stderr = &stderr
				if contains {
					contain(t, corral.Auto, cmd)
				}
				if tt.after != nil {
					tt.after(cmd)
				}
				if tt.before != nil {
					tt.before(cmd)
				}
				out, err := cmd.Output()
				if err != nil || stderr.Len() > 0 {
					t.Errorf("%v, %s", err, stderr.String())
				}
				entries := strings.Split(string(out), "\x00")
				slices.Sort(entries) // the order of two entries that are replaced differs
				return strings.Join(entries, "\n")
			}
			if got, want := output(true), output(false); got != want {
				t.Errorf("the environment is\n%s\nos/exec has\n%s", got, want)
			}
		})
	}
}

// TestContainFiles: the command has the descriptors that it would have, and nobody
// else has them: who waits for their end gets it when the command closes them.
func TestContainFiles(t *testing.T) {
	for _, cont := range containers {
		t.Run(string(cont), func(t *testing.T) {
			t.Parallel()
			need(t, cont)
			r, w, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			const script = "ls /proc/$$/fd; exec >&- 2>&- 5>&-; read line"
			plain := exec.Command("sh", "-c", script)
			plain.ExtraFiles = []*os.File{nil, nil, w}
			want, _ := plain.Output()
			cmd := shell(t, cont, nil, script)
			cmd.ExtraFiles = plain.ExtraFiles // after Contain
			stdin, err := cmd.StdinPipe()
			if err != nil {
				t.Fatal(err)
			}
			stdout, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			w.Close()
			out, err := io.ReadAll(stdout)
			if err != nil || !bytes.Equal(out, want) {
				t.Errorf("the command has %q, %v; os/exec: %q", out, err, want)
			}
			r.SetReadDeadline(time.Now().Add(tooLong / 2)) // whoever has it has it until the command ends
			if _, err := r.Read(make([]byte, 1)); err != io.EOF {
				t.Errorf("the extra file: %v", err)
			}
			stdin.Close()
			if err := cmd.Wait(); err == nil || err.Error() != "exit status 1" {
				t.Errorf("Wait: %v", err)
			}
		})
	}
}

// containHigh is a program that has a descriptor whose number is beyond its limit, and
// contains a command that writes to it.
func containHigh(args []string) {
	const number, limit = 200, 64
	err := unix.Dup2(1, number)
	if err == nil {
		err = syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: limit, Max: limit})
	}
	cmd := exec.Command("sh", "-c", fmt.Sprintf("echo written >/proc/self/fd/%d; sleep 60 &", number))
	cmd.Stderr = os.Stderr
	cont := corral.Containment(args[0])
	if err == nil {
		err = corral.Contain(cmd, corral.ContainOptions{Containment: cont, Require: cont})
	}
	if err == nil {
		err = cmd.Run()
	}
	if err != nil {
		panic(err)
	}
}

// TestContainHighFile: the command inherits what has a number beyond the limit of
// descriptors, and neither the runner nor a helper keeps it.
func TestContainHighFile(t *testing.T) {
	for _, cont := range containers {
		t.Run(string(cont), func(t *testing.T) {
			t.Parallel()
			need(t, cont)
			self, args := escape.Command("contain-high", string(cont))
			host := exec.Command(self, args...)
			host.WaitDelay = tooLong / 2
			if out, err := host.Output(); err != nil || string(out) != "written\n" {
				t.Errorf("%q, %v", out, err)
			}
		})
	}
}

// TestContainStdinClosed: nobody but the command has its standard input.
func TestContainStdinClosed(t *testing.T) {
	for _, cont := range containers {
		t.Run(string(cont), func(t *testing.T) {
			t.Parallel()
			need(t, cont)
			cmd := shell(t, cont, nil, "exec <&-; echo; exec sleep 60")
			r, w, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			defer w.Close()
			cmd.Stdin = r
			stdout, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			r.Close()
			awaitLine(t, stdout)
			eventually(t, "somebody still reads", func() bool {
				_, err := w.Write([]byte("x"))
				return errors.Is(err, syscall.EPIPE)
			})
			cmd.Process.Kill()
			cmd.Wait()
		})
	}
}

// TestContainContext: the end of a context, WaitDelay and Cancel mean what they
// meant.
func TestContainContext(t *testing.T) {
	for _, cont := range containers {
		t.Run(string(cont), func(t *testing.T) {
			t.Parallel()
			need(t, cont)
			for _, tt := range []struct {
				name, script, want string
				cancel             func(*exec.Cmd) func() error
				delay              time.Duration
			}{
				{"kill", "trap '' TERM; sleep 60 & echo; wait", "signal: killed", nil, 0},
				{"signal", "trap 'exit 9' TERM; echo; while :; do sleep 0.01; done", "exit status 9", func(c *exec.Cmd) func() error {
					return func() error { return c.Process.Signal(syscall.SIGTERM) }
				}, 0},
				{"delay", "trap '' TERM; echo; while :; do sleep 0.01; done", "signal: killed", func(c *exec.Cmd) func() error {
					return func() error { return c.Process.Signal(syscall.SIGTERM) }
				}, grace},
			} {
				ctx, cancel := context.WithCancel(t.Context())
				cmd := exec.CommandContext(ctx, "sh", "-c", tt.script)
				if tt.cancel != nil {
					cmd.Cancel = tt.cancel(cmd)
				}
				cmd.WaitDelay = tt.delay
				contain(t, cont, cmd)
				out, err := cmd.StdoutPipe()
				if err != nil {
					t.Fatal(err)
				}
				if err := cmd.Start(); err != nil {
					t.Fatal(err)
				}
				awaitLine(t, out)
				cancel()
				if _, err := io.ReadAll(out); err != nil { // nobody holds it
					t.Errorf("%s: %v", tt.name, err)
				}
				if err := cmd.Wait(); err == nil || err.Error() != tt.want {
					t.Errorf("%s: Wait: %v, want %s", tt.name, err, tt.want)
				}
			}
		})
	}
}

// TestContainLeftovers: what the command leaves is asked to end, and Wait returns
// when it has.
func TestContainLeftovers(t *testing.T) {
	for _, cont := range containers {
		t.Run(string(cont), func(t *testing.T) {
			t.Parallel()
			need(t, cont)
			dir := t.TempDir()
			file, fifo := filepath.Join(dir, "asked"), filepath.Join(dir, "fifo")
			if err := unix.Mkfifo(fifo, 0o600); err != nil {
				t.Fatal(err)
			}
			const script = `(trap 'echo asked >"$1"; exit' TERM; echo; while :; do sleep 0.01; done) >"$2" & read line <"$2"`
			cmd := exec.Command("sh", "-c", script, "sh", file) // whose standard error is nobody's: it says that it was asked
			containWith(t, cont, cmd, patient)
			cmd.Args = append(cmd.Args, fifo) // after Contain
			if err := cmd.Run(); err != nil {
				t.Fatal(err)
			}
			if text, err := os.ReadFile(file); err != nil || string(text) != "asked\n" {
				t.Errorf("%q, %v", text, err)
			}
		})
	}
}

// TestContainIgnored: the command ignores what the caller ignores.
func TestContainIgnored(t *testing.T) {
	signal.Ignore(syscall.SIGUSR2)
	defer signal.Reset(syscall.SIGUSR2)
	for _, cont := range containers {
		t.Run(string(cont), func(t *testing.T) {
			need(t, cont)
			const script = "grep SigIgn /proc/self/status"
			want, err := exec.Command("sh", "-c", script).Output()
			if err != nil {
				t.Fatal(err)
			}
			out, err := shell(t, cont, nil, script).Output()
			if err != nil || !bytes.Equal(out, want) {
				t.Errorf("%q, %v; os/exec: %q", out, err, want)
			}
		})
	}
}

// TestContainTerminal: a caller that gives the process a session and a terminal,
// after Contain, gives them to the command, which is hung up with the terminal.
func TestContainTerminal(t *testing.T) {
	for _, cont := range containers {
		t.Run(string(cont), func(t *testing.T) {
			t.Parallel()
			need(t, cont)
			ours, theirs, err := pty.Open(pty.Settings{})
			if err != nil {
				t.Skip("SKIPPED: ", err)
			}
			defer ours.Close()
			cmd := shell(t, cont, nil, `cut -d ' ' -f 1,5,6,8 /proc/$$/stat; trap 'exit 5' HUP; echo ready >/dev/tty; while :; do sleep 0.01; done`)
			cmd.Stdin, cmd.Stdout, cmd.Stderr = theirs, theirs, theirs
			cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true} // as creack/pty does
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			theirs.Close()
			out := bufio.NewReader(ours)
			line, err := out.ReadString('\n')
			f := strings.Fields(line)
			if err != nil || len(f) != 4 || f[1] != f[0] || f[2] != f[0] || f[3] != f[0] {
				t.Errorf("process, group, session and foreground group are %q, %v", f, err)
			}
			if line, err := out.ReadString('\n'); err != nil || line != "ready\r\n" {
				t.Errorf("%q, %v", line, err)
			}
			ours.Close()
			if err := cmd.Wait(); err == nil || err.Error() != "exit status 5" {
				t.Errorf("Wait: %v", err)
			}
		})
	}
}

// TestContainRole: nobody becomes a runner by its arguments alone.
func TestContainRole(t *testing.T) {
	real := exec.Command("true")
	contain(t, corral.Auto, real)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for name, args := range map[string][]string{
		"another parent": slices.Concat([]string{real.Args[0], "1"}, real.Args[2:]),
		"no number":      slices.Concat([]string{real.Args[0], "x"}, real.Args[2:]),
		"a bad spec":     {real.Args[0], real.Args[1], "AAAA", "/bin/true", "true"},
	} {
		cmd := &exec.Cmd{Path: self, Args: args}
		out, err := cmd.CombinedOutput()
		if err == nil || err.Error() != "exit status 125" || !strings.HasPrefix(string(out), "corral: ") {
			t.Errorf("%s: %v, %.100q", name, err, out)
		}
	}
}

// TestContainLeavesNothing: the caller has no descriptor, goroutine or process more
// than before.
func TestContainLeavesNothing(t *testing.T) {
	fds := func() int {
		entries, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(entries)
	}
	run := func() {
		cmd := shell(t, corral.Auto, nil, "sleep 60 >/dev/null 2>&1 & :")
		cmd.Stderr = nil
		if err := cmd.Run(); err != nil {
			t.Fatal(err)
		}
	}
	run()
	before := fds()
	for range 5 {
		run()
	}
	if now := fds(); now > before {
		t.Errorf("%d descriptors, there were %d", now, before)
	}
}
