package corral_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/windows"

	"github.com/corral-run/corral"
	"github.com/corral-run/corral/internal/diff"
	"github.com/corral-run/corral/internal/escape"
	"github.com/corral-run/corral/internal/winetest"
)

func init() {
	// contain-host contains a command, which its arguments are, and is killed.
	escape.Register("contain-host", func(args []string) {
		cmd := exec.Command(args[0], args[1:]...)
		escape.Attach(cmd, escape.Inherited())
		err := corral.Contain(cmd, corral.ContainOptions{StopPlan: corral.StopPlan{}})
		if err == nil {
			err = cmd.Run()
		}
		if err != nil {
			os.Exit(1)
		}
	})
	// shut closes its output, and stays until its input ends.
	escape.Register("shut", func([]string) {
		os.Stdout.Close()
		io.Copy(io.Discard, os.Stdin)
		windows.ExitProcess(5)
	})
	// write writes to a handle that it has inherited, and closes it and stays.
	escape.Register("write", func(args []string) {
		h, _ := strconv.ParseUint(args[0], 10, 64)
		f := os.NewFile(uintptr(h), "inherited")
		f.WriteString("inherited\n")
		f.Close()
		time.Sleep(escape.Lifetime)
	})
	escape.Register("variables", func(args []string) {
		for _, name := range args {
			fmt.Printf("%s=%s\n", name, os.Getenv(name))
		}
	})
}

// contain makes cmd a contained command, whose leftovers are killed at once.
func contain(t *testing.T, cmd *exec.Cmd) *exec.Cmd {
	t.Helper()
	if err := corral.Contain(cmd, corral.ContainOptions{StopPlan: corral.StopPlan{}, Require: corral.Job}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if cmd.Process != nil {
			cmd.Process.Kill()
		}
	})
	return cmd
}

// TestContainEscape: no hostile child gets away from a contained command, whether it
// ends, is killed by who has started it, or loses that one. TestEscape has the other
// children: the job is the same.
func TestContainEscape(t *testing.T) {
	for _, child := range escape.All() {
		if !slices.Contains([]string{"breakaway", "grandchildren", "new-console"}, child.Name) {
			continue
		}
		t.Run(child.Name, func(t *testing.T) {
			for _, how := range []string{"ends", "killed", "host"} {
				t.Run(how, func(t *testing.T) { containedGoes(t, child, how) })
			}
		})
	}
}

func containedGoes(t *testing.T, child escape.Child, how string) {
	escape.StartBystander(t)
	probe := escape.NewProbe(t, child)
	path, args, files := probe.Command()
	cmd := exec.Command(path, args...)
	if how == "host" {
		cmd = command("contain-host", append([]string{path}, args...)...)
	}
	escape.Attach(cmd, files)
	if how != "host" {
		contain(t, cmd)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Process.Kill()
	probe.Started()
	probe.Ready(t.Context())
	want := "exit status 1"
	if how == "ends" {
		probe.Release()
		if want = endings[child.Name]; want == "" {
			want = "exit status 0"
		}
	} else if err := cmd.Process.Kill(); err != nil {
		t.Error(err)
	}
	cmd.Wait()
	if got := cmd.ProcessState.String(); got != want {
		t.Errorf("%s, want %s", got, want)
	}
	gone(t, probe, nil)
}

// TestContainKilledEarly: at whatever moment the runner is killed, or the program that has
// started it, nothing is left.
func TestContainKilledEarly(t *testing.T) {
	t.Run("runner", func(t *testing.T) { killedEarly(t, false) })
	t.Run("host", func(t *testing.T) {
		winetest.Need(t, "pipes stay open that a process inherits whose parent is killed while it starts")
		killedEarly(t, true)
	})
}

func killedEarly(t *testing.T, host bool) {
	const trials = 5
	var longest time.Duration
	for i := range trials {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			probe := escape.NewProbe(t, plain(t))
			probe.Interrupt()
			path, args, files := probe.Command()
			cmd := exec.Command(path, args...)
			if host {
				cmd = command("contain-host", append([]string{path}, args...)...)
			}
			escape.Attach(cmd, files)
			if !host {
				contain(t, cmd)
			}
			start := time.Now()
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			defer cmd.Process.Kill()
			probe.Started()
			if i == 0 { // this one shows how long it takes
				probe.Ready(t.Context())
				longest = time.Since(start)
			} else {
				time.Sleep(longest * time.Duration(i) / trials) // this is the trial, not how it is judged
			}
			cmd.Process.Kill()
			cmd.Wait()
			gone(t, probe, nil)
		})
	}
}

// TestContainIsTheCommand: exit code, arguments, directory, environment, streams are
// the command's.
func TestContainIsTheCommand(t *testing.T) {
	for _, status := range []uint32{0, 1, 125, 259, 0xc0000005} {
		cmd := contain(t, command("exit", fmt.Sprint(status)))
		if err := cmd.Run(); (err == nil) != (status == 0) || uint32(cmd.ProcessState.ExitCode()) != status {
			t.Errorf("%d: %v", status, err)
		}
	}
	args := []string{"Übung", "two words", `a "quoted" \`, "", "狼\\"}
	dir := filepath.Join(winetest.TempDir(t), "Kön igs 狼")
	if err := os.Mkdir(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	cmd := contain(t, command("arguments", args...))
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "NON_ASCII=ß 狼") // later than Contain
	out, err := cmd.Output()
	if want := fmt.Sprintf("%q %q %q\n", args, dir, "ß 狼"); err != nil || string(out) != want {
		t.Errorf("%v\ngot  %swant %s", err, out, want)
	}
	line := command("arguments")
	line.SysProcAttr = &syscall.SysProcAttr{CmdLine: strings.Join(append([]string{"x"}, line.Args[1:]...), " ") + ` a"b c"d`}
	if out, err := contain(t, line).Output(); err != nil || !strings.HasPrefix(string(out), `["ab cd"] `) {
		t.Errorf("CmdLine: %q, %v", out, err)
	}
	// What steers the runner is not the command's, and the other way round.
	steered := command("variables", "GODEBUG", "CORRAL_AUTO", "GOMAXPROCS")
	steered.Env = append(os.Environ(), "GODEBUG=http2client=0", "CORRAL_AUTO=nonsense")
	out, err = contain(t, steered).Output()
	if want := "GODEBUG=http2client=0\nCORRAL_AUTO=nonsense\nGOMAXPROCS=" + os.Getenv("GOMAXPROCS") + "\n"; err != nil || string(out) != want {
		t.Errorf("environment: %q, %v", out, err)
	}
}

// TestContainStreams: the runner holds nothing that the command has closed, and Kill
// means all.
func TestContainStreams(t *testing.T) {
	cmd := contain(t, command("shut"))
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended(t, "the output", out)
	in.Close()
	if err := cmd.Wait(); err == nil || err.Error() != "exit status 5" {
		t.Errorf("Wait: %v", err)
	}

	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	h := windows.Handle(w.Fd())
	if err := windows.SetHandleInformation(h, windows.HANDLE_FLAG_INHERIT, windows.HANDLE_FLAG_INHERIT); err != nil {
		t.Fatal(err)
	}
	cmd = command("write", fmt.Sprint(uintptr(h)))
	cmd.SysProcAttr = &syscall.SysProcAttr{AdditionalInheritedHandles: []syscall.Handle{syscall.Handle(h)}}
	if err := contain(t, cmd).Start(); err != nil {
		t.Fatal(err)
	}
	w.Close()
	if got := ended(t, "the inherited handle", r); got != "inherited\n" {
		t.Errorf("%q", got)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Error(err)
	}
	if err := cmd.Wait(); err == nil || err.Error() != "exit status 1" {
		t.Errorf("Wait: %v", err)
	}
}

// ended returns what there is to read until the end, which is to be soon.
func ended(t *testing.T, what string, r io.Reader) string {
	t.Helper()
	all := make(chan string, 1)
	go func() {
		text, _ := io.ReadAll(r)
		all <- string(text)
	}()
	select {
	case text := <-all:
		return text
	case <-time.After(20 * time.Second):
		t.Fatalf("%s does not end", what)
	}
	return ""
}

// TestContainLeftoversWindows: what the command leaves is stopped before Wait returns,
// and in the containment that has been asked for.
func TestContainLeftoversWindows(t *testing.T) {
	cmd := contain(t, command("leave"))
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(out)))
	if err != nil {
		t.Fatal(err)
	}
	if h, err := windows.OpenProcess(windows.SYNCHRONIZE, false, uint32(pid)); err == nil {
		defer windows.CloseHandle(h)
		if event, err := windows.WaitForSingleObject(h, 0); event != windows.WAIT_OBJECT_0 {
			t.Errorf("it is left: %d, %v", event, err)
		}
	}
}

// TestContainPassesOnWindows: Ctrl-Break reaches the command.
func TestContainPassesOnWindows(t *testing.T) {
	winetest.Need(t, "GenerateConsoleCtrlEvent knows CTRL_C only (server/console.c, propagate_console_signal)")
	cmd := command("obey")
	cmd.SysProcAttr = &syscall.SysProcAttr{CreationFlags: windows.CREATE_NEW_PROCESS_GROUP}
	out, err := contain(t, cmd).StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	said := bufio.NewReader(out)
	if line, err := said.ReadString('\n'); strings.TrimSpace(line) != "ready" {
		t.Fatal(line, err)
	}
	if err := windows.GenerateConsoleCtrlEvent(windows.CTRL_BREAK_EVENT, uint32(cmd.Process.Pid)); err != nil {
		t.Fatal(err)
	}
	rest := ended(t, "the output", said)
	if err := cmd.Wait(); strings.TrimSpace(rest) != "asked" || err == nil || err.Error() != "exit status 7" {
		t.Errorf("it said %q, and then %v", rest, err)
	}
}

// TestContainErrorsWindows: what can be foreseen is an error of Contain, which leaves the
// command as it was; the rest the runner says.
func TestContainErrorsWindows(t *testing.T) {
	missing := filepath.Join(winetest.TempDir(t), "none.exe")
	for want, change := range map[string]func(*exec.Cmd){
		"Token":         func(c *exec.Cmd) { c.SysProcAttr = &syscall.SysProcAttr{Token: 1} },
		"ParentProcess": func(c *exec.Cmd) { c.SysProcAttr = &syscall.SysProcAttr{ParentProcess: 1} },
		"DEBUG_PROCESS": func(c *exec.Cmd) {
			c.SysProcAttr = &syscall.SysProcAttr{CreationFlags: windows.DEBUG_ONLY_THIS_PROCESS}
		},
		missing: func(c *exec.Cmd) { c.Path = missing },
	} {
		cmd := command("exit", "0")
		change(cmd)
		path, args, attr := cmd.Path, slices.Clone(cmd.Args), cmd.SysProcAttr
		err := corral.Contain(cmd, corral.ContainOptions{})
		if err == nil || !strings.Contains(err.Error(), want) || errors.Is(err, errors.ErrUnsupported) == (want == missing) || errors.Is(err, fs.ErrNotExist) != (want == missing) {
			t.Errorf("%s: %v", want, err)
		}
		if diff := diff.Of(args, cmd.Args); diff != "" || cmd.Path != path || cmd.SysProcAttr != attr {
			t.Errorf("%s: the command has changed", want)
		}
	}
	twice := contain(t, command("exit", "0"))
	if err := corral.Contain(twice, corral.ContainOptions{}); err == nil || !strings.Contains(err.Error(), "contained already") {
		t.Errorf("twice: %v", err)
	}
	var said strings.Builder
	later := command("exit", "0")
	later.Path, later.Stderr = `.\none.exe`, &said
	if err := contain(t, later).Run(); err == nil || err.Error() != "exit status 127" || !strings.HasPrefix(said.String(), "corral: ") {
		t.Errorf("a relative path: %v, %q", err, said.String())
	}
	// A runner is one for its parent only.
	claimed := contain(t, command("exit", "0"))
	claimed.Args[1] = strconv.Itoa(os.Getppid() + 4)
	out, err := claimed.CombinedOutput()
	if err == nil || err.Error() != "exit status 125" || !strings.Contains(string(out), "refused to be a runner: its parent is process") {
		t.Errorf("claimed: %v, %s", err, out)
	}
}
