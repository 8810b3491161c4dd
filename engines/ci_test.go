//go:build linux

package engines_test

import (
	"cmp"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"

	"github.com/corral-run/corral"
	"github.com/corral-run/corral/internal/escape"
)

// The CI systems are not here, but how they start the script of a job and cancel it
// is known: docs/ci.md has the sources. These tests do the same, in a fraction of
// the time.

// faster divides the time that the runners of CI systems wait in vain.
const faster = 3

// short is well below what any of them waits.
const short = 200 * time.Millisecond

// runners has the runners by the names of the CI systems.
var runners = map[string]struct {
	// start starts the shell. dir is for files. The terminal is nil if it has none.
	start func(dir, script string) (shell *exec.Cmd, terminal *os.File, err error)
	// cancel returns when nothing more is done about the job.
	cancel func(*step)
}{
	// The standard input is closed. Only the shell gets the signals.
	"GitHub Actions": {
		func(dir, script string) (*exec.Cmd, *os.File, error) {
			file := filepath.Join(dir, "step.sh")
			if err := os.WriteFile(file, []byte(script), 0o600); err != nil {
				return nil, nil, err
			}
			shell := exec.Command("bash", "-e", file)
			return shell, nil, shell.Start()
		},
		func(s *step) {
			_ = s.signal(s.pid, syscall.SIGINT, 7500*time.Millisecond) ||
				s.signal(s.pid, syscall.SIGTERM, 2500*time.Millisecond) ||
				s.signal(s.pid, syscall.SIGKILL, 0)
		},
	},
	// The shell reads what to do, and the commands get an empty input.
	"GitLab shell": {
		func(_, script string) (*exec.Cmd, *os.File, error) {
			shell := exec.Command("bash", "-l")
			shell.Stdin = strings.NewReader("trap exit 1 TERM\nset -o pipefail -o errexit\n: | eval " + quoted([]string{script}) + "\nexit 0\n")
			shell.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
			return shell, nil, shell.Start()
		},
		func(s *step) {
			_ = s.signal(-s.pid, syscall.SIGTERM, 10*time.Minute) ||
				s.signal(-s.pid, syscall.SIGKILL, 0)
		},
	},
	// The shell has a terminal, which is closed when it has ended.
	"Buildkite": {
		func(_, script string) (*exec.Cmd, *os.File, error) {
			shell := exec.Command("bash", "-e", "-c", script)
			terminal, err := pty.Start(shell)
			return shell, terminal, err
		},
		func(s *step) {
			_ = s.signal(-s.pid, syscall.SIGTERM, 9*time.Second) ||
				s.signal(-s.pid, syscall.SIGKILL, 0)
			<-s.ended
			s.terminal.Close()
		},
	},
}

// step is a script that a runner has started.
type step struct {
	pid      int
	terminal *os.File
	ended    chan struct{}    // closed when the shell has ended; it is not reaped then
	outlives []syscall.Signal // the shell is still there when the time after these is over
}

func startStep(t *testing.T, runner, script string, outlives []syscall.Signal) *step {
	t.Helper()
	// Whoever runs the tests may ignore SIGINT, which the shell would inherit.
	interrupted := make(chan os.Signal, 1)
	signal.Notify(interrupted, syscall.SIGINT)
	shell, terminal, err := runners[runner].start(t.TempDir(), script)
	signal.Stop(interrupted)
	if err != nil {
		t.Fatal(err)
	}
	s := &step{shell.Process.Pid, terminal, make(chan struct{}), outlives}
	go func() {
		defer close(s.ended)
		for unix.Waitid(unix.P_PID, s.pid, nil, unix.WEXITED|unix.WNOWAIT, nil) == unix.EINTR {
		}
	}()
	t.Cleanup(func() {
		shell.Process.Kill()
		<-s.ended
		shell.Wait()
		if terminal != nil {
			terminal.Close()
		}
	})
	return s
}

// signal reports whether the shell ends within the runner's time after the
// signal: the whole of it if the shell is to end first, as a busy machine takes its
// part.
func (s *step) signal(pid int, sig syscall.Signal, wait time.Duration) bool {
	unix.Kill(pid, sig) // it is there, at least as a zombie
	if sig == syscall.SIGKILL || slices.Contains(s.outlives, sig) {
		wait /= faster
	}
	select {
	case <-s.ended:
		return true
	case <-time.After(wait):
		return false
	}
}

// cancellation is a job that a runner cancels.
type cancellation struct {
	runner, name string
	before       string           // before the command line, in the script
	deaf         bool             // to SIGINT
	flags        []string         // corral's; nil: without corral
	outlives     []syscall.Signal // see step
	grace        time.Duration    // 0: something is left
	endings      []corral.Ending  // one of these; none: corral is killed before
}

// The command gets a group's signal too, and may end of it first.
var either = []corral.Ending{corral.Stopped, corral.Exited}

var (
	onlyINT  = []syscall.Signal{syscall.SIGINT}
	onlyTERM = []syscall.Signal{syscall.SIGTERM}
	both     = []syscall.Signal{syscall.SIGINT, syscall.SIGTERM}
)

var cancellations = []cancellation{
	{runner: "GitHub Actions", name: "without corral", outlives: onlyINT},
	{runner: "GitHub Actions", name: "exec without corral", before: "exec "},
	// The runner tells the shell alone.
	{runner: "GitHub Actions", name: "corral", flags: []string{}, outlives: onlyINT},
	{runner: "GitHub Actions", name: "corral --lifeline parent", flags: []string{"--lifeline", "parent"},
		outlives: onlyINT, grace: grace, endings: []corral.Ending{corral.LifelineLost}},
	// The first signal is the command's, which ends.
	{runner: "GitHub Actions", name: "exec corral", before: "exec ", flags: []string{},
		grace: short, endings: []corral.Ending{corral.Exited}},
	{runner: "GitHub Actions", name: "exec corral with SIGINT ignored", before: "exec ", deaf: true, flags: []string{},
		outlives: onlyINT, grace: short, endings: []corral.Ending{corral.Stopped}},
	{runner: "GitHub Actions", name: "exec corral with too long a grace period", before: "exec ", deaf: true, flags: []string{},
		outlives: both, grace: 2 * time.Second},

	{runner: "GitLab shell", name: "without corral"},
	{runner: "GitLab shell", name: "corral", flags: []string{}, grace: grace, endings: either},

	{runner: "Buildkite", name: "without corral"},
	{runner: "Buildkite", name: "corral", flags: []string{}, grace: short, endings: either},
	{runner: "Buildkite", name: "corral with too long a grace period", flags: []string{}, outlives: onlyTERM, grace: 4 * time.Second},
}

// TestCICancelled: a job is cancelled.
func TestCICancelled(t *testing.T) {
	need(t, "bash")
	for _, tt := range cancellations {
		t.Run(tt.runner+"/"+tt.name, func(t *testing.T) {
			t.Parallel()
			job := newJob(t)
			line := job.alone()
			if tt.deaf {
				line = append([]string{"sh", "-c", `trap "" INT; exec "$@"`, "sh"}, line...)
			}
			if tt.flags != nil {
				line = job.corralled(line, append([]string{"--grace", cmp.Or(tt.grace, grace).String()}, tt.flags...)...)
			}
			step := startStep(t, tt.runner, tt.before+quoted(line), tt.outlives)
			job.complete()
			began := time.Now()
			cancelled := make(chan struct{})
			go func() {
				defer close(cancelled)
				runners[tt.runner].cancel(step)
			}()
			if tt.grace == 0 {
				<-cancelled
				job.stays(time.Now(), limit)
				return
			}
			job.goneBy(began, patience)
			<-cancelled
			if tt.endings != nil {
				if r := job.ended(); !slices.Contains(tt.endings, r.Ending) {
					t.Errorf("corral's report: %s, want %s", r.Ending, tt.endings)
				}
			} else if text, err := os.ReadFile(job.report); err != nil || len(text) > 0 {
				t.Errorf("corral has not been killed, and reports %s, %v", text, err)
			}
		})
	}
}

const runnerRole = "runner"

// This runner is a process of its own, for the test to kill.
func init() {
	escape.Register(runnerRole, func(args []string) {
		runner, dir, script := args[0], args[1], args[2]
		shell, _, err := runners[runner].start(dir, script)
		if err != nil {
			panic(err)
		}
		shell.Wait()
	})
}

// TestCIRunnerKilled: the runner is gone, and nobody cancels the job.
func TestCIRunnerKilled(t *testing.T) {
	need(t, "bash")
	for name := range runners {
		run := func(kind string, script func(*job) string, limit time.Duration, judge func(*job, time.Time, time.Duration)) {
			t.Run(name+"/"+kind, func(t *testing.T) {
				t.Parallel()
				job := newJob(t)
				path, args := escape.Command(runnerRole, name, t.TempDir(), script(job))
				runner := exec.Command(path, args...)
				runner.Stderr = os.Stderr
				if err := runner.Start(); err != nil {
					t.Fatal(err)
				}
				kill := func() {
					runner.Process.Kill()
					runner.Wait()
				}
				t.Cleanup(kill)
				job.complete()
				began := time.Now()
				kill()
				judge(job, began, limit)
			})
		}
		run("without corral", func(j *job) string { return quoted(j.alone()) }, limit, (*job).stays)
		run("corral", func(j *job) string {
			// The shell knows its parent.
			line := quoted(j.corralled(j.alone(), "--lifeline", "parent", "--lifeline", "pid:$PPID"))
			return strings.Replace(line, "'pid:$PPID'", "pid:$PPID", 1)
		}, patience, (*job).goneBy)
	}
}
