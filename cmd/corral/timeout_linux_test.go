package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/corral-run/corral"
	"github.com/corral-run/corral/internal/proctree"
)

// timeoutContainments are those under which `corral timeout` is tested.
var timeoutContainments = []corral.Containment{corral.Cgroup, corral.Keeper}

func init() {
	programs["timeout"] = main
	for _, c := range timeoutContainments {
		programs["timeout-"+string(c)] = func() {
			os.Exit(execute(asRoot(newTimeout(c)), os.Args[1:], os.Stdout, os.Stderr))
		}
	}
}

// underContainments runs a test of `corral timeout` under each containment.
func underContainments(t *testing.T, test func(t *testing.T, timeout string)) {
	for _, c := range timeoutContainments {
		t.Run(string(c), func(t *testing.T) {
			if out, err := exec.Command("corral", "--require", string(c), "--containment", string(c), "--", "true").CombinedOutput(); err != nil {
				t.Skipf("SKIPPED: %s", out)
			}
			path, err := exec.LookPath("timeout-" + string(c))
			if err != nil {
				t.Fatal(err)
			}
			test(t, path)
		})
	}
}

func TestTimeoutScripts(t *testing.T) {
	underContainments(t, func(t *testing.T, timeout string) {
		runScripts(t, "testdata/timeout", "TIMEOUT="+timeout)
	})
}

// gnuTimeout finds GNU timeout: the tests have another program of that name.
func gnuTimeout(t *testing.T) (path, version string) {
	t.Helper()
	for _, dir := range filepath.SplitList(os.Getenv("PATH")) {
		path := filepath.Join(dir, "timeout")
		out, err := exec.Command(path, "--version").Output()
		if line, _, _ := strings.Cut(string(out), "\n"); err == nil && strings.Contains(line, "GNU coreutils") {
			return path, line
		}
	}
	t.Skip("SKIPPED: GNU timeout is not installed")
	panic("unreachable")
}

// outcome is what a caller gets to know of a timeout.
type outcome struct {
	status         int // or -1
	signal         syscall.Signal
	stdout, stderr string
}

func (o outcome) String() string {
	return fmt.Sprintf("status %d, signal %d, stdout %q, stderr %q", o.status, o.signal, o.stdout, o.stderr)
}

var (
	advice = regexp.MustCompile(`(?m)^Try '.*' for more information\.\n|; see 'timeout --help'$`)
	// Only the numbers of errors are the same in C and in Go.
	whyNot = regexp.MustCompile(`(?m)^(timeout: failed to run command '.*'): .*$`)
	// Of options, only values are complained about in the same words.
	wrongOption = regexp.MustCompile(`(?m)^timeout: (unknown|unrecognized|invalid option|-\S+ needs a value|option).*$`)
	// GNU timeout has nothing to say if words are missing.
	missing = regexp.MustCompile(`(?m)^timeout: no (duration|command) given\n`)
	// GNU timeout does not know what is left.
	stopped = regexp.MustCompile(`(?m)^timeout: stopped .*\n`)
)

// said is what a timeout has said without what is known to be different.
func said(program, stderr string) string {
	s := strings.ReplaceAll(stderr, program+": ", "timeout: ")
	s = advice.ReplaceAllString(s, "")
	s = whyNot.ReplaceAllString(s, "$1: ...")
	s = wrongOption.ReplaceAllString(s, "timeout: wrong option")
	s = missing.ReplaceAllString(s, "")
	return stopped.ReplaceAllString(s, "")
}

// timeoutCommand runs a timeout by way of the words in before, if any.
func timeoutCommand(dir, program string, before, args []string) *exec.Cmd {
	argv := slices.Concat(before, []string{program}, args)
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "LC_ALL=C", "PATH=/nowhere:.:"+dir+":/usr/bin:/bin")
	return cmd
}

func ending(t *testing.T, cmd *exec.Cmd, err error, program string, stdout, stderr *bytes.Buffer) outcome {
	t.Helper()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	o := outcome{status: cmd.ProcessState.ExitCode(), stdout: stdout.String(), stderr: said(program, stderr.String())}
	if ws := cmd.ProcessState.Sys().(syscall.WaitStatus); ws.Signaled() {
		o.signal = ws.Signal()
		if ws.CoreDump() {
			t.Errorf("%v: it has dumped core itself", cmd.Args)
		}
	}
	return o
}

// likeGNU are command lines of timeout, with what is to execute it if there is a
// before.
var likeGNU = []struct {
	before []string
	args   []string
}{
	// It ends in time.
	{args: []string{"10", "true"}},
	{args: []string{"10", "sh", "-c", "exit 2"}},
	{args: []string{"10", "sh", "-c", "echo out; echo err >&2; exit 255"}},
	{args: []string{"-k5", "-s9", "-v", "10", "false"}},
	{args: []string{"-f", "-p", "10", "sh", "-c", "exit 3"}},
	{args: []string{"10", "echo", "-k", "--", "-v", "--help"}},
	{args: []string{"0", "sh", "-c", "sleep .1; exit 4"}},
	{args: []string{"-k", "0", "0s", "sh", "-c", "exit 4"}},
	{args: []string{"10", "sh", "-c", "kill -TERM $$"}},
	{args: []string{"10", "sh", "-c", "kill -KILL $$"}},
	{args: []string{"10", "sh", "-c", "kill -HUP $$"}},
	{args: []string{"10", "sh", "-c", "kill -ABRT $$"}},
	{args: []string{"10", "sh", "-c", "ulimit -c 0; kill -SEGV $$"}},
	{args: []string{"10", "sh", "-c", "ulimit -c 0; kill -QUIT $$"}},
	{args: []string{"-p", "10", "sh", "-c", "kill -USR1 $$"}},
	{args: []string{"-f", "10", "sh", "-c", "kill -PIPE $$"}},
	{args: []string{"10", "sh", "-c", "kill -34 $$"}},
	// It does not.
	{args: []string{".05", "sleep", "30"}},
	{args: []string{"-v", ".05", "sleep", "30"}},
	{args: []string{"-v", "-p", ".05", "sleep", "30"}},
	{args: []string{"-v", "-f", ".05", "sleep", "30"}},
	{args: []string{"-v", "-f", "-p", ".05", "sleep", "30"}},
	{args: []string{"-v", "-s", "INT", ".05", "sleep", "30"}},
	{args: []string{"-v", "-p", "-s", "QUIT", ".05", "sleep", "30"}},
	{args: []string{"-v", "-s", "KILL", ".05", "sleep", "30"}},
	{args: []string{"-v", "-p", "-s", "KILL", ".05", "sleep", "30"}},
	{args: []string{"-v", "-f", "-s", "KILL", ".05", "sleep", "30"}},
	{args: []string{"-v", "-f", "-p", "-s", "KILL", ".05", "sleep", "30"}},
	{args: []string{"-v", "-s", "137", ".05", "sleep", "30"}},
	// It does not obey. (For a signal that the command would ignore, see below:
	// GNU timeout's child takes it to heart before it is the command.)
	{args: []string{"-v", "-s", "0", "-k", ".05", ".05", "sleep", "30"}},
	{args: []string{"-v", "-f", "-s", "EXIT", "-k", ".05", ".05", "sleep", "30"}},
	{args: []string{"-v", "-s", "CHLD", "-k", ".05", ".05", "sleep", "30"}},
	// How options are written.
	{args: []string{"--foreground", "--preserve-status", "--signal=TERM", "--kill-after=5", "--verbose", "10", "true"}},
	{args: []string{"--signal", "TERM", "--kill-after", "5", "10", "true"}},
	{args: []string{"--f", "--p", "--s", "INT", "--k=5", "--verb", "10", "true"}},
	{args: []string{"-vs", "INT", ".05", "sleep", "30"}},
	{args: []string{"-vsINT", "-v", ".05", "sleep", "30"}},
	{args: []string{"-s", "INT", "-s", "TERM", "-v", ".05", "sleep", "30"}},
	{args: []string{"--", "10", "true"}},
	{args: []string{"-v", "--", "10", "true"}},
	{args: []string{"10", "--", "true"}},
	{args: []string{"10", "-v"}},
	// Wrong ones.
	{},
	{args: []string{"--"}},
	{args: []string{"10"}},
	{args: []string{"-v", "10"}},
	{args: []string{"-z", "10", "true"}},
	{args: []string{"-vz", "10", "true"}},
	{args: []string{"-1", "true"}},
	{args: []string{"--no-such-option", "10", "true"}},
	{args: []string{"--ver", "10", "true"}},
	{args: []string{"--kill-after"}},
	{args: []string{"-k"}},
	{args: []string{"-s"}},
	{args: []string{"-k", "-1", "10", "true"}},
	{args: []string{"-k", "", "10", "true"}},
	{args: []string{"-k", "soon", "-s", "BANG", "10", "true"}},
	{args: []string{"--signal=", "10", "true"}},
	// What cannot be run.
	{args: []string{"10", "no-such-command-here"}},
	{args: []string{"10", "./no-such-command-here"}},
	{args: []string{"10", ""}},
	{args: []string{"10", "."}},
	{args: []string{"10", "./directory"}},
	{args: []string{"10", "directory"}},
	{args: []string{"10", "./plain"}},
	{args: []string{"10", "plain"}},
	{args: []string{"10", "./plain/x"}},
	{args: []string{"10", "plain/x"}},
	{args: []string{"10", "./orphan"}},
	{args: []string{"10", "./text", "with", "words"}},
	{before: []string{"env", "-u", "PATH"}, args: []string{"10", "sh", "-c", "echo ${PATH-unset}"}},
	{before: []string{"env", "-i"}, args: []string{"10", "no-such-command-here"}},
	// What it starts with.
	{before: []string{"sh", "-c", `exec "$@" <&-`, "sh"}, args: []string{"10", "true"}},
	{before: ignoring("CHLD"), args: []string{"10", "sh", "-c", "exit 5"}},
	{before: ignoring("ALRM"), args: []string{".05", "sleep", "30"}},
	{before: ignoring("TERM"), args: []string{".05", "sleep", "30"}},
	{before: ignoring("INT"), args: []string{"-s", "INT", ".05", "sleep", "30"}},
	{before: ignoring("HUP"), args: []string{"-s", "HUP", ".05", "sleep", "30"}},
	{before: ignoring("INT QUIT"), args: []string{"10", "sh", "-c", "kill -INT $$; echo ignored"}},
	{before: ignoring("INT QUIT"), args: []string{"10", "sh", "-c", "ulimit -c 0; kill -QUIT $$; echo ignored"}},
	{before: []string{"sh", "-c", `sleep .01 & exec "$@"`, "sh"}, args: []string{".3", "sh", "-c", "sleep 30; echo foo"}},
}

// ignoring executes its arguments with signals ignored.
func ignoring(signals string) []string {
	return []string{"sh", "-c", `trap "" ` + signals + `; exec "$@"`, "sh"}
}

// notPrograms makes a directory of what cannot be executed, or not quite.
func notPrograms(t *testing.T) (dir string) {
	dir = t.TempDir()
	for name, file := range map[string]struct {
		text string
		mode os.FileMode
	}{
		"text":   {"echo a script of $0 $*\n", 0o755}, // execvp(3) gives it to the shell
		"plain":  {"not a program\n", 0o644},
		"orphan": {"#!/no/such/interpreter\n", 0o755},
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(file.text), file.mode); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "directory"), 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// longForms writes out the options that were long before they were in POSIX.
func longForms(args []string) []string {
	args = slices.Clone(args)
	for i, arg := range args {
		if long := map[string]string{"-f": "--foreground", "-p": "--preserve-status"}[arg]; long != "" {
			args[i] = long
		}
	}
	return args
}

// TestTimeoutLikeGNU runs the same command lines under GNU timeout.
func TestTimeoutLikeGNU(t *testing.T) {
	gnu, version := gnuTimeout(t)
	t.Log(version)
	// -f and -p are newer than some.
	posix := exec.Command(gnu, "-f", "-p", "5", "true").Run() == nil
	dir := notPrograms(t)
	underContainments(t, func(t *testing.T, timeout string) {
		for _, tt := range likeGNU {
			t.Run(strings.Join(tt.args, " "), func(t *testing.T) {
				t.Parallel()
				var got [2]outcome
				for i, program := range []string{gnu, timeout} {
					args := tt.args
					if i == 0 && !posix {
						args = longForms(args)
					}
					cmd := timeoutCommand(dir, program, tt.before, args)
					var stdout, stderr bytes.Buffer
					cmd.Stdout, cmd.Stderr = &stdout, &stderr
					err := cmd.Run()
					got[i] = ending(t, cmd, err, program, &stdout, &stderr)
				}
				if got[0] != got[1] {
					t.Errorf("%q %q:\n   GNU: %v\ncorral: %v", tt.before, tt.args, got[0], got[1])
				}
			})
		}
	})
}

// TestTimeoutWordsLikeGNU asks GNU timeout about the durations and signals of
// the other tests.
func TestTimeoutWordsLikeGNU(t *testing.T) {
	gnu, version := gnuTimeout(t)
	t.Log(version)
	asks := func(want int, args ...string) {
		t.Helper()
		cmd := timeoutCommand(t.TempDir(), gnu, nil, args)
		cmd.Run()
		if got := cmd.ProcessState.ExitCode(); got != want {
			t.Errorf("GNU timeout %.40q: status %d; want %d", args, got, want)
		}
	}
	for in := range intervals {
		asks(0, "-k", in, "--", "10", "true")
		if intervals[in] != 1 {
			asks(0, "--", in, "true")
		}
	}
	for _, in := range badIntervals {
		if !strings.Contains(in, "\x00") {
			asks(125, "--", in, "true")
			asks(125, "-k", in, "10", "true")
		}
	}
	names := strings.Fields("0 34 064 128 137 EXIT IO POLL IOT CLD STKFLT SYS SIG15 RTMIN RTMAX RTMIN+3 rtmin+30 RTMAX-3 SIGRTMAX-30")
	for n := 1; n <= 64; n++ {
		sig := syscall.Signal(n)
		if _, ok := knownSignal(n, true); !ok {
			asks(125, "-s", fmt.Sprint(n), "10", "true")
			continue
		}
		names = append(names, timeoutSignal{sig}.name())
	}
	for _, in := range names {
		asks(0, "-s", in, "10", "true")
		if _, ok := parseTimeoutSignal(in); !ok {
			t.Errorf("parseTimeoutSignal(%q) fails", in)
		}
	}
	for _, in := range append(badSignals, "UNUSED", "INFO", "65", "SIGRTMIN+31") {
		asks(125, "-s", in, "10", "true")
		if got, ok := parseTimeoutSignal(in); ok {
			t.Errorf("parseTimeoutSignal(%q) = %d", in, got)
		}
	}
}

// The name that GNU timeout has for every signal.
func TestTimeoutSignalNames(t *testing.T) {
	gnu, _ := gnuTimeout(t)
	for n := 1; n <= 64; n++ {
		sig := syscall.Signal(n)
		if _, ok := knownSignal(n, true); !ok || sig == syscall.SIGSTOP {
			continue // which stops GNU timeout, too
		}
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			t.Parallel()
			var stderr bytes.Buffer
			cmd := timeoutCommand(t.TempDir(), gnu, nil, []string{"-v", "-s", fmt.Sprint(n), "-k", ".2", ".05", "sleep", "30"})
			cmd.Stderr = &stderr
			cmd.Run()
			line, _, _ := strings.Cut(said(gnu, stderr.String()), "\n")
			if want := fmt.Sprintf("timeout: sending signal %s to command 'sleep'", timeoutSignal{sig}.name()); line != want {
				t.Errorf("corral: %q\n   GNU: %q", want, line)
			}
		})
	}
}

// Signals that timeout gets go to the command, and begin the time of -k.
func TestTimeoutPassesOnLikeGNU(t *testing.T) {
	gnu, _ := gnuTimeout(t)
	const ready = "echo ready; exec sleep 30"
	underContainments(t, func(t *testing.T, timeout string) {
		for _, tt := range []struct {
			signal syscall.Signal
			args   []string
		}{
			{syscall.SIGTERM, []string{"-v", "50", "sh", "-c", ready}},
			{syscall.SIGTERM, []string{"-v", "-k", "20", "50", "sh", "-c", ready}},
			{syscall.SIGTERM, []string{"-v", "--foreground", "50", "sh", "-c", ready}},
			{syscall.SIGTERM, []string{"-v", "--preserve-status", "-s", "INT", "50", "sh", "-c", ready}},
			{syscall.SIGINT, []string{"-v", "50", "sh", "-c", ready}},
			{syscall.SIGQUIT, []string{"-v", "50", "sh", "-c", "ulimit -c 0; " + ready}},
			{syscall.SIGHUP, []string{"-v", "50", "sh", "-c", ready}},
			{syscall.SIGALRM, []string{"-v", "50", "sh", "-c", ready}},
			{syscall.SIGALRM, []string{"-v", "--preserve-status", "-s", "INT", "50", "sh", "-c", ready}},
			{syscall.SIGALRM, []string{"-v", "-s", "KILL", "50", "sh", "-c", ready}},
			{syscall.SIGALRM, []string{"-v", "--preserve-status", "-s", "WINCH", "-k", ".05", "50", "sh", "-c", ready}},
			{syscall.SIGALRM, []string{"-v", "-s", "CONT", "-k", ".05", "50", "sh", "-c", ready}},
			{syscall.SIGALRM, []string{"-v", "-s", "WINCH", "50", "sh", "-c", "echo ready; read _; exit 9"}},
			{syscall.SIGALRM, []string{"-v", "--preserve-status", "-s", "WINCH", "50", "sh", "-c", "echo ready; read _; exit 9"}},
			{syscall.SIGALRM, []string{"-v", "--preserve-status", "-s", "WINCH", "-k", "20", "50", "sh", "-c", "echo ready; read _; kill -TERM $$"}},
			{syscall.SIGUSR1, []string{"-v", "-s", "USR1", "50", "sh", "-c", ready}},
			{syscall.SIGWINCH, []string{"-v", "-s", "WINCH", "-k", ".1", "50", "sh", "-c", ready}},
			{syscall.SIGWINCH, []string{"-v", "--foreground", "-s", "WINCH", "-k", ".1", "50", "sh", "-c", ready}},
			{syscall.SIGTERM, []string{"-v", "-k", ".1", "50", "sh", "-c", "trap '' TERM; " + ready}},
			{syscall.SIGTERM, []string{"-v", "--foreground", "-k", ".1", "50", "sh", "-c", "trap '' TERM; " + ready}},
			{syscall.SIGINT, []string{"-v", "--preserve-status", "-k", ".1", "50", "sh", "-c", "trap '' INT; " + ready}},
			{syscall.SIGTERM, []string{"50", "sh", "-c", "trap 'exit 9' TERM; sh -c 'echo ready; exec sleep 30' & wait"}},
		} {
			t.Run(fmt.Sprint(tt.signal, tt.args), func(t *testing.T) {
				t.Parallel()
				var got [2]outcome
				for i, program := range []string{gnu, timeout} {
					got[i] = signalReady(t, tt.signal, program, tt.args, program == gnu)
				}
				if got[0] != got[1] {
					t.Errorf("%v to %q:\n   GNU: %v\ncorral: %v", tt.signal, tt.args, got[0], got[1])
				}
			})
		}
	})
}

// signalReady signals a timeout whose command has said that it is ready. The input of
// the command ends when timeout says that it sends a signal.
func signalReady(t *testing.T, signal syscall.Signal, program string, args []string, gnu bool) outcome {
	t.Helper()
	cmd := timeoutCommand(t.TempDir(), program, nil, args)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	var stdout bytes.Buffer
	stderr := hearing{text: "sending signal", do: func() { stdin.Close() }}
	cmd.Stderr = &stderr
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	line := make([]byte, len("ready\n"))
	if _, err := io.ReadFull(out, line); err != nil {
		t.Fatal(err)
	}
	if gnu {
		asleep(t, cmd.Process.Pid)
	}
	cmd.Process.Signal(signal)
	io.Copy(&stdout, out)
	return ending(t, cmd, cmd.Wait(), program, &stdout, &stderr.all)
}

// hearing keeps what is written, and does something when it has the text.
type hearing struct {
	all  bytes.Buffer
	text string
	do   func()
}

func (h *hearing) Write(b []byte) (int, error) {
	n, err := h.all.Write(b)
	if strings.Contains(h.all.String(), h.text) {
		h.do()
	}
	return n, err
}

// asleep waits until GNU timeout waits for its command: one that gets a signal
// before its fork(2) has returned exits, and leaves the command alone. The kernel
// has no event for it.
func asleep(t *testing.T, pid int) {
	t.Helper()
	for deadline := time.Now().Add(lifetime); ; time.Sleep(time.Millisecond) {
		p, err := proctree.Lookup(pid)
		switch {
		case err != nil:
			t.Fatal(err)
		case p.State == proctree.Sleeping:
			return
		case time.Now().After(deadline):
			t.Fatalf("GNU timeout is in state %c", p.State)
		}
	}
}

// A command that dumps core is said to have done so; there is no second dump.
func TestTimeoutCoreDump(t *testing.T) {
	underContainments(t, func(t *testing.T, timeout string) {
		dir := t.TempDir()
		if err := exec.Command("sh", "-c", "cd "+dir+" && ulimit -c unlimited && kill -SEGV $$").Run(); err != nil {
			var exit *exec.ExitError
			if !errors.As(err, &exit) || !exit.Sys().(syscall.WaitStatus).CoreDump() {
				t.Skip("SKIPPED: nothing dumps core here: ", err)
			}
		}
		cmd := timeoutCommand(dir, timeout, nil, []string{"10", "sh", "-c", "ulimit -c unlimited; kill -SEGV $$"})
		var stdout, stderr bytes.Buffer
		cmd.Stderr = &stderr
		got := ending(t, cmd, cmd.Run(), timeout, &stdout, &stderr)
		if want := (outcome{-1, syscall.SIGSEGV, "", "timeout: the monitored command dumped core\n"}); got != want {
			t.Errorf("%v; want %v", got, want)
		}
	})
}
