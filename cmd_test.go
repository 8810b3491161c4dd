//go:build linux || darwin || freebsd

package corral_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"math"
	"os"
	"os/exec"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/corral-run/corral"
	"github.com/corral-run/corral/internal/diff"
	"github.com/corral-run/corral/internal/leak"
)

// sh returns a shell script to be run in a process group, with a short grace.
// Whatever the scripts leave behind is a sleep of a minute at most.
func sh(script string) *corral.Cmd {
	cmd := group("sh", "-c", script)
	cmd.StopPlan = corral.StopPlan{{Signal: syscall.SIGTERM, Wait: grace}}
	return cmd
}

// patient is a plan for a command that obeys: its time is used up only if the test
// has failed.
var patient = corral.StopPlan{{Signal: syscall.SIGTERM, Wait: time.Minute}}

// awaitLine returns the first line the command prints, which says that it has
// come so far.
func awaitLine(t *testing.T, r io.Reader) string {
	t.Helper()
	var line []byte
	for b := make([]byte, 1); ; {
		if _, err := io.ReadFull(r, b); err != nil {
			t.Fatalf("after %q: %v", line, err)
		}
		if b[0] == '\n' {
			return string(line)
		}
		line = append(line, b[0])
	}
}

// started starts cmd and waits for its first line.
func started(t *testing.T, cmd *corral.Cmd) string {
	t.Helper()
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return awaitLine(t, stdout)
}

func commands(leftovers []corral.Leftover) []string {
	var all []string
	for _, l := range leftovers {
		all = append(all, strings.Join(l.Command, " ")+": "+string(l.Fate)+" "+l.Signal)
	}
	slices.Sort(all)
	return all
}

func TestLeftovers(t *testing.T) {
	// One that obeys and one that does not. Which program a PID stands for when
	// the leader ends is a race, so they are told apart by PID.
	const script = "sleep 58 & echo obeys $!; sh -c 'trap \"\" TERM; echo ignores $$; exec sleep 59' & read x <&3"
	for _, tt := range []struct {
		policy          corral.LeftoverPolicy
		obeys, ignores  corral.Fate
		fails, isForced bool
	}{
		{corral.KillLeftovers, corral.Signalled, corral.Forced, false, true},
		{corral.FailOnLeftovers, corral.Signalled, corral.Forced, true, true},
		{corral.KeepLeftovers, corral.Kept, corral.Kept, false, false},
	} {
		cmd := sh(script)
		// A grace that one of them obeys in, also on a busy machine. The other uses it up.
		cmd.StopPlan = corral.StopPlan{{Signal: syscall.SIGTERM, Wait: 3 * time.Second}}
		cmd.Leftovers = tt.policy
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		cmd.ExtraFiles = []*os.File{r}
		stdout, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		want := make(map[int]corral.Fate)
		for range 2 {
			role, pid, _ := strings.Cut(awaitLine(t, stdout), " ")
			want[atoi(pid)] = map[string]corral.Fate{"obeys": tt.obeys, "ignores": tt.ignores}[role]
		}
		r.Close()
		w.Close() // the shell reads end-of-file, and exits
		err = cmd.Wait()
		var left *corral.LeftoverError
		if errors.As(err, &left) != tt.fails || !isExit(err, 1) {
			t.Errorf("policy %d: Wait: %v", tt.policy, err)
		}
		rep := cmd.Report()
		got := make(map[int]corral.Fate)
		for _, l := range rep.Leftovers {
			got[l.PID] = l.Fate
			if l.Fate == corral.Kept {
				syscall.Kill(l.PID, syscall.SIGKILL)
			}
			if (l.Signal == "SIGTERM") != (l.Fate == corral.Signalled) || len(l.Command) == 0 {
				t.Errorf("policy %d: %+v", tt.policy, l)
			}
		}
		if diff := diff.Of(want, got); diff != "" {
			t.Errorf("policy %d:\n%s", tt.policy, diff)
		}
		if tt.fails && !reflect.DeepEqual(left.Leftovers, rep.Leftovers) {
			t.Errorf("the error names %v, the report %v", left.Leftovers, rep.Leftovers)
		}
		if rep.Forced != tt.isForced || rep.Ending != corral.Exited {
			t.Errorf("policy %d: forced %v, ending %s", tt.policy, rep.Forced, rep.Ending)
		}
	}
}

// TestWaitForLeftovers: what the command leaves ends by itself, or the run is
// stopped in one of the ways there are. The leader has ended when its pipe is
// at end-of-file.
func TestWaitForLeftovers(t *testing.T) {
	const (
		speaks = "(trap 'echo stopped' TERM; read x <&3; echo by itself; exec 3<&- >&-) 4>&- & exit 3"
		plain  = "(read x <&3) 4>&- & exit 3"
	)
	for _, tt := range []leftoverWait{
		{"by itself", speaks, 0, func(_ *testing.T, _ *corral.Cmd, _, release func()) { release() }, corral.Exited, nil},
		{"stop", plain, 0, func(t *testing.T, cmd *corral.Cmd, _, _ func()) {
			if err := cmd.Stop(t.Context()); err != nil {
				t.Error(err)
			}
		}, corral.Stopped, nil},
		{"context", plain, 0, func(_ *testing.T, _ *corral.Cmd, cancel, _ func()) { cancel() }, corral.Cancelled, nil},
		{"timeout", plain, 2 * time.Second, func(*testing.T, *corral.Cmd, func(), func()) {}, corral.TimedOut, context.DeadlineExceeded},
	} {
		for _, cont := range containments {
			t.Run(tt.name+"/"+string(cont), func(t *testing.T) {
				need(t, cont)
				t.Parallel()
				if tt.timeout == 0 {
					tt.run(t, cont)
					return
				}
				inTime(t, tt.timeout, func(timeout time.Duration) bool {
					tt := tt // the others have their own
					tt.timeout = timeout
					return tt.run(t, cont)
				})
			})
		}
	}
}

// leftoverWait is a run that waits for its leftover, and how that ends.
type leftoverWait struct {
	name, script string
	timeout      time.Duration
	act          func(t *testing.T, cmd *corral.Cmd, cancel func(), release func())
	ending       corral.Ending
	err          error // besides the *ExitError
}

// run returns false, and has judged nothing, if the leader may not have ended before
// the timeout.
func (tt leftoverWait) run(t *testing.T, cont corral.Containment) (inTime bool) {
	pipe := func() (r, w *os.File) {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { r.Close(); w.Close() })
		return r, w
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	blocked, releases := pipe()
	leader, leaders := pipe()
	cmd := corral.CommandContext(ctx, "sh", "-c", tt.script)
	cmd.Containment, cmd.Require = cont, cont
	cmd.Leftovers, cmd.StopPlan = corral.WaitForLeftovers, patient
	cmd.Timeout = tt.timeout
	cmd.WaitDelay = time.Minute // it does not count before the context's end
	var out bytes.Buffer
	cmd.Stdout = &out
	cmd.ExtraFiles = []*os.File{blocked, leaders}
	began := time.Now()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	leaders.Close()
	waited := make(chan error, 1)
	go func() { waited <- cmd.Wait() }()
	if _, err := io.ReadAll(leader); err != nil {
		t.Fatal(err)
	}
	if tt.timeout > 0 && time.Since(began) >= tt.timeout {
		<-waited
		return false
	}
	if tt.timeout == 0 {
		select {
		case err := <-waited:
			t.Fatalf("Wait did not wait: %v", err)
		case <-time.After(20 * time.Millisecond): // would be enough for a mistake to show
		}
	}
	tt.act(t, cmd, cancel, func() { releases.Close() })
	err := <-waited
	rep := cmd.Report()
	if !isExit(err, 3) || tt.err != nil && !errors.Is(err, tt.err) || rep.Ending != tt.ending || rep.ExitCode != 3 {
		t.Errorf("Wait: %v; ending %s, exit code %d", err, rep.Ending, rep.ExitCode)
	}
	switch {
	case tt.ending == corral.Exited && (out.String() != "by itself\n" || len(rep.Leftovers) > 0):
		t.Errorf("output %q, leftovers %v", out.String(), rep.Leftovers)
	case tt.ending != corral.Exited && (len(rep.Leftovers) != 1 || rep.Leftovers[0].Signal != "SIGTERM"):
		t.Errorf("leftovers %v", rep.Leftovers)
	}
	return true
}

func isExit(err error, code int) bool {
	var exit *corral.ExitError
	return errors.As(err, &exit) && exit.ExitCode() == code
}

// TestPipeEnds: what a leftover holds open does not keep a reader waiting, even
// if nobody has called Wait yet.
func TestPipeEnds(t *testing.T) {
	cmd := sh("sleep 60 & echo $!")
	cmd.StopPlan = patient
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(stdout); err != nil {
		t.Error(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
	// The child may not have come to exec sleep yet.
	if got := commands(cmd.Report().Leftovers); len(got) != 1 || !strings.HasSuffix(got[0], ": signalled SIGTERM") {
		t.Errorf("leftovers %q", got)
	}
}

// TestOutputHeldOutside: a process that has escaped holds the pipe, and what was
// written is delivered all the same.
func TestOutputHeldOutside(t *testing.T) {
	for _, tt := range []struct {
		name, script string
		policy       corral.LeftoverPolicy
	}{
		{"escaped", "exec 4>&1; setsid -f sh -c 'echo $$ >&4; echo done >&4; echo; exec sleep 60' | read x", corral.KillLeftovers},
		{"kept", "sleep 60 & echo $!; echo done", corral.KeepLeftovers},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cmd := sh(tt.script)
			cmd.Leftovers = tt.policy
			cmd.WaitDelay = 200 * time.Millisecond
			out, err := cmd.Output()
			if !errors.Is(err, corral.ErrWaitDelay) {
				t.Errorf("Output: %v", err)
			}
			lines := strings.Fields(string(out))
			if len(lines) != 2 || !slices.Contains(lines, "done") {
				t.Fatalf("output %q", out)
			}
			for _, l := range lines {
				if pid := atoi(l); pid > 1 {
					syscall.Kill(pid, syscall.SIGKILL)
				}
			}
		})
	}
}

func atoi(s string) int {
	n := 0
	for _, c := range s {
		if c < '0' || c > '9' {
			return 0
		}
		n = 10*n + int(c-'0')
	}
	return n
}

// inTime runs something with a timeout, and again with twice of it as long as the
// time was up before what the test is about could begin, as on a busy machine.
func inTime(t *testing.T, timeout time.Duration, began func(timeout time.Duration) bool) {
	t.Helper()
	for ; !began(timeout); timeout *= 2 {
		if timeout > time.Minute {
			t.Fatalf("it did not begin within %v", timeout)
		}
	}
}

func TestTimeout(t *testing.T) {
	for _, tt := range []struct {
		name, script string
		plan         corral.StopPlan
		signal       string
		forced       bool
	}{
		{"obeys", "sleep 60 & echo; wait", patient, "SIGTERM", false},
		{"does not", "trap '' TERM; sleep 60 & echo; wait", corral.StopPlan{{Signal: syscall.SIGTERM, Wait: grace}}, "SIGKILL", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var cmd *corral.Cmd
			inTime(t, time.Second, func(timeout time.Duration) bool {
				cmd = sh(tt.script)
				cmd.StopPlan, cmd.Timeout = tt.plan, timeout
				stdout, err := cmd.StdoutPipe()
				if err != nil {
					t.Fatal(err)
				}
				began := time.Now()
				if err := cmd.Start(); err != nil {
					t.Fatal(err)
				}
				// A stop that has begun may not have seen a child that came after.
				if _, err := io.ReadFull(stdout, make([]byte, 1)); err == nil && time.Since(began) < timeout {
					return true
				}
				cmd.Wait()
				return false
			})
			err := cmd.Wait()
			var exit *corral.ExitError
			if !errors.Is(err, context.DeadlineExceeded) || !errors.As(err, &exit) {
				t.Errorf("Wait: %v", err)
			}
			rep := cmd.Report()
			if rep.Ending != corral.TimedOut || rep.Signal != tt.signal || rep.Forced != tt.forced || rep.ExitCode != -1 {
				t.Errorf("%+v", rep)
			}
			if len(rep.Leftovers) != 1 {
				t.Errorf("leftovers %v", rep.Leftovers)
			}
		})
	}
}

func TestContext(t *testing.T) {
	because := errors.New("because")
	for _, tt := range []struct {
		name   string
		cancel func(*corral.Cmd) // changes Cancel and WaitDelay
		signal string
		forced bool
	}{
		{"stop plan", func(*corral.Cmd) {}, "SIGTERM", false},
		{"own Cancel", func(c *corral.Cmd) { c.Cancel = func() error { return c.Process.Signal(syscall.SIGUSR1) } }, "SIGUSR1", false},
		{"WaitDelay without Cancel", func(c *corral.Cmd) { c.Cancel, c.WaitDelay = nil, time.Millisecond }, "SIGKILL", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ctx, cancel := context.WithCancelCause(t.Context())
			cmd := corral.CommandContext(ctx, "sh", "-c", "sleep 60 & echo; wait")
			cmd.Containment, cmd.StopPlan = corral.Group, patient
			tt.cancel(cmd)
			started(t, cmd)
			cancel(because)
			err := cmd.Wait()
			if _, ok := err.(*corral.ExitError); !ok {
				t.Errorf("Wait: %v (%T)", err, err)
			}
			rep := cmd.Report()
			if rep.Ending != corral.Cancelled || rep.Cause != "because" || rep.Signal != tt.signal || rep.Forced != tt.forced {
				t.Errorf("%+v", rep)
			}
			if len(rep.Leftovers) != 1 {
				t.Errorf("leftovers %v", rep.Leftovers)
			}
		})
	}
}

// TestWaitDelayEndsGrace: WaitDelay counts from the context's end, whatever the
// stop plan still waits for.
func TestWaitDelayEndsGrace(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cmd := corral.CommandContext(ctx, "sh", "-c", "trap '' TERM; sleep 60 & echo; wait")
	cmd.Containment = corral.Group
	cmd.StopPlan = corral.StopPlan{{Signal: syscall.SIGTERM, Wait: time.Minute}}
	cmd.WaitDelay = 10 * time.Millisecond
	started(t, cmd)
	cancel()
	if err := cmd.Wait(); !isExit(err, -1) {
		t.Errorf("Wait: %v", err)
	}
	if rep := cmd.Report(); rep.Ending != corral.Cancelled || !rep.Forced || rep.Signal != "SIGKILL" || time.Duration(rep.Elapsed) > 30*time.Second {
		t.Errorf("%+v", rep)
	}
}

// TestConcurrentStops: whoever asks, there is one stop, and all get its result.
func TestConcurrentStops(t *testing.T) {
	for round := range 20 {
		ctx, cancel := context.WithCancel(t.Context())
		// It counts the TERMs it gets while its child ends: there must be one.
		// (The child is a program of its own when it says that it is there: one
		// that has only been forked would still handle the signal as its parent.)
		cmd := corral.CommandContext(ctx, "sh", "-c", `n=0; trap 'n=$((n+1))' TERM; sh -c 'echo; exec sleep 60' & wait; wait; exit $n`)
		cmd.Containment = corral.Group
		started(t, cmd)
		var wg sync.WaitGroup
		begin := make(chan struct{})
		for range 4 {
			wg.Go(func() {
				<-begin
				if err := cmd.Stop(t.Context()); err != nil {
					t.Errorf("Stop: %v", err)
				}
			})
			wg.Go(func() {
				<-begin
				if _, err := cmd.Members(); err != nil {
					t.Errorf("Members: %v", err)
				}
				if err := cmd.Signal(syscall.SIGCONT); err != nil && !errors.Is(err, os.ErrProcessDone) {
					t.Errorf("Signal: %v", err)
				}
			})
		}
		wg.Go(func() { <-begin; cancel() })
		wg.Go(func() {
			<-begin
			if err := cmd.Wait(); !isExit(err, 1) {
				t.Errorf("Wait: %v", err)
			}
		})
		close(begin)
		wg.Wait()
		if got := cmd.Report().Ending; got != corral.Stopped && got != corral.Cancelled {
			t.Errorf("round %d: ending %s", round, got)
		}
		if err := cmd.Stop(t.Context()); err != nil {
			t.Errorf("Stop after the end: %v", err)
		}
		if err := cmd.Signal(os.Kill); !errors.Is(err, os.ErrProcessDone) {
			t.Errorf("Signal after the end: %v", err)
		}
		if m, err := cmd.Members(); err != nil || len(m) > 0 {
			t.Errorf("Members after the end: %v, %v", m, err)
		}
	}
}

// TestStopReturnsEarly: a caller may lose patience; the stop goes on.
func TestStopReturnsEarly(t *testing.T) {
	cmd := sh("trap '' TERM; sleep 60 & echo; wait")
	// If Stop could return for either reason, it would be by chance for this one.
	cmd.StopPlan = corral.StopPlan{{Signal: syscall.SIGTERM, Wait: 3 * time.Second}}
	started(t, cmd)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := cmd.Stop(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Stop: %v", err)
	}
	if err := cmd.Wait(); err == nil || cmd.Report().Ending != corral.Stopped {
		t.Errorf("Wait: %v, %+v", err, cmd.Report())
	}
}

// TestStopWith: a stop with another plan, and what is left when the command has
// ended is killed after WaitDelay, without being told again.
func TestStopWith(t *testing.T) {
	// The command ends at once; its child counts, and outlives USR1.
	cmd := sh(`sh -c 'trap "echo told" USR1 TERM; echo; while :; do sleep .1; done' & wait`)
	cmd.WaitDelay = 3 * time.Second // for the child to say so; it is used up
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.StopWith(t.Context(), nil); err == nil {
		t.Error("StopWith before Start: no error")
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(stdout, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	if err := cmd.StopWith(t.Context(), corral.StopPlan{{}}); err == nil || cmd.ProcessState != nil {
		t.Errorf("StopWith a plan without a signal: %v", err)
	}
	if err := cmd.StopWith(t.Context(), corral.StopPlan{{Signal: syscall.SIGUSR1, Wait: math.MaxInt64}}); err != nil {
		t.Errorf("StopWith: %v", err)
	}
	out, err := io.ReadAll(stdout)
	if err != nil || string(out) != "told\n" {
		t.Errorf("output %q, %v", out, err)
	}
	cmd.Wait()
	if r := cmd.Report(); r.Ending != corral.Stopped || r.Signal != "SIGUSR1" || !r.Forced {
		t.Errorf("%+v", r)
	}
}

func TestMembersAndSignal(t *testing.T) {
	cmd := sh("trap : USR1; sh -c 'echo $$; exec sleep 60' & wait; echo again; wait")
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	child := atoi(awaitLine(t, stdout))
	members, err := cmd.Members()
	if err != nil {
		t.Fatal(err)
	}
	var pids []int
	for _, m := range members {
		pids = append(pids, m.PID)
	}
	slices.Sort(pids)
	want := []int{cmd.Process.Pid, child}
	slices.Sort(want)
	if !slices.Equal(pids, want) {
		t.Errorf("members %v, want %v", members, want)
	}
	for _, m := range members {
		if m.PID == cmd.Process.Pid && !slices.Equal(m.Command, cmd.Args) {
			t.Errorf("command line %q, want %q", m.Command, cmd.Args)
		}
	}
	// Each member gets it: the shell handles it, the sleep dies of it.
	if err := cmd.Signal(syscall.SIGUSR1); err != nil {
		t.Error(err)
	}
	if line := awaitLine(t, stdout); line != "again" {
		t.Errorf("%q", line)
	}
	if err := cmd.Wait(); err != nil || len(cmd.Report().Leftovers) > 0 {
		t.Errorf("Wait: %v, %v", err, cmd.Report().Leftovers)
	}
}

func TestSignalKill(t *testing.T) {
	cmd := sh("trap '' TERM; sleep 60 & echo; wait")
	started(t, cmd)
	if err := cmd.Signal(os.Kill); err != nil {
		t.Error(err)
	}
	if err := cmd.Wait(); err == nil || cmd.Report().Signal != "SIGKILL" || cmd.Report().Ending != corral.Exited {
		t.Errorf("Wait: %v, %+v", err, cmd.Report())
	}
}

func TestNotStarted(t *testing.T) {
	cmd := group("true")
	if cmd.Report() != nil {
		t.Error("a report before the start")
	}
	_, err := cmd.Members()
	for name, err := range map[string]error{"Wait": cmd.Wait(), "Stop": cmd.Stop(t.Context()), "Signal": cmd.Signal(os.Kill), "Members": err} {
		if err == nil {
			t.Errorf("%s before Start: no error", name)
		}
	}
}

func TestStartErrors(t *testing.T) {
	notExecutable := t.TempDir() + "/file"
	writeFile(t, notExecutable, nil)
	done, cancel := context.WithCancel(t.Context())
	cancel()
	for _, tt := range []struct {
		name string
		cmd  *corral.Cmd
		is   error
		text string
	}{
		{name: "not found", cmd: group("corral-no-such-command"), is: corral.ErrNotFound},
		{name: "no such path", cmd: group("/corral/no/such/path"), is: os.ErrNotExist},
		{name: "not executable", cmd: group(notExecutable), is: os.ErrPermission},
		{name: "context", cmd: corral.CommandContext(done, "true"), is: context.Canceled},
		{name: "required", cmd: &corral.Cmd{Path: "/bin/true", Require: corral.Job}, is: errors.ErrUnsupported, text: "(required job or stronger)"},
		{name: "contradiction", cmd: &corral.Cmd{Path: "/bin/true", Containment: corral.Group, Require: corral.Keeper}, text: "keeper is required, which is stronger"},
		{name: "unknown containment", cmd: &corral.Cmd{Path: "/bin/true", Containment: "box"}, text: `unknown containment "box"`},
		{name: "unknown requirement", cmd: &corral.Cmd{Path: "/bin/true", Require: "box"}, text: `unknown containment "box"`},
		{name: "unknown policy", cmd: &corral.Cmd{Path: "/bin/true", Leftovers: 7}, text: "unknown LeftoverPolicy 7"},
		{name: "negative timeout", cmd: &corral.Cmd{Path: "/bin/true", Timeout: -1}, text: "negative Timeout"},
		{name: "step with no such signal", cmd: &corral.Cmd{Path: "/bin/true", StopPlan: corral.StopPlan{{Signal: syscall.Signal(999)}}}, text: "step 1 of the stop plan has signal 999, which is no signal of this system"},
		{name: "step with a negative signal", cmd: &corral.Cmd{Path: "/bin/true", StopPlan: corral.StopPlan{{Signal: syscall.SIGTERM}, {Signal: syscall.Signal(-4)}}}, text: "step 2 of the stop plan has signal -4"},
		{name: "step without signal", cmd: &corral.Cmd{Path: "/bin/true", StopPlan: corral.StopPlan{{Wait: 1}}}, text: "step 1 of the stop plan has no signal"},
		{name: "negative wait", cmd: &corral.Cmd{Path: "/bin/true", StopPlan: corral.StopPlan{{Signal: os.Interrupt, Wait: -1}}}, text: "negative wait"},
		{name: "another group", cmd: &corral.Cmd{Path: "/bin/true", Containment: corral.Group, SysProcAttr: &syscall.SysProcAttr{Setpgid: true, Pgid: 4711}}, text: "Pgid"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			before := descriptors(t)
			tt.cmd.Stdout, tt.cmd.Stdin = new(bytes.Buffer), strings.NewReader("x")
			err := tt.cmd.Start()
			if err == nil || tt.is != nil && !errors.Is(err, tt.is) || !strings.Contains(err.Error(), tt.text) || strings.Contains(err.Error(), "\n") {
				t.Errorf("Start: %v", err)
			}
			if tt.cmd.Process != nil {
				t.Error("a process")
			}
			if err := tt.cmd.Start(); err == nil {
				t.Error("a second Start succeeded")
			}
			if after := descriptors(t); after > before { // less, if another test's guard has gone to rest
				t.Errorf("%d descriptors before, %d after", before, after)
			}
		})
	}
}

// TestAttributesAreTheCallers: a SysProcAttr may serve several commands.
func TestAttributesAreTheCallers(t *testing.T) {
	attr := &syscall.SysProcAttr{Setsid: true}
	cmd := group("true")
	cmd.SysProcAttr = attr
	if err := cmd.Run(); err != nil {
		t.Error(err)
	}
	if diff := diff.Of(syscall.SysProcAttr{Setsid: true}, *attr); diff != "" {
		t.Errorf("changed:\n%s", diff)
	}
}

func TestWrap(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	inner := exec.CommandContext(ctx, "sh", "-c", "sleep 60 & echo $GREETING; wait")
	inner.Env = append(os.Environ(), "GREETING=hello")
	stdout, err := inner.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd := corral.Wrap(inner)
	cmd.Containment, cmd.StopPlan = corral.Group, patient
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if line := awaitLine(t, stdout); line != "hello" {
		t.Errorf("%q", line)
	}
	if inner.Process == nil || inner.Process.Pid != cmd.Process.Pid {
		t.Error("the wrapped command does not have the process")
	}
	cancel()
	if rest, err := io.ReadAll(stdout); err != nil || len(rest) > 0 {
		t.Errorf("%q, %v", rest, err)
	}
	if err := cmd.Wait(); !isExit(err, -1) {
		t.Errorf("Wait: %v", err)
	}
	// The stop plan, not os/exec's kill of the leader.
	if rep := cmd.Report(); rep.Ending != corral.Cancelled || rep.Signal != "SIGTERM" || len(rep.Leftovers) != 1 {
		t.Errorf("%+v", rep)
	}
}

func TestWrapKeepsCancel(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	inner := exec.CommandContext(ctx, "sh", "-c", "echo; sleep 60 & wait")
	inner.Cancel = func() error { return inner.Process.Signal(syscall.SIGUSR1) }
	cmd := corral.Wrap(inner)
	cmd.Containment = corral.Group
	started(t, cmd)
	cancel()
	if cmd.Wait(); cmd.Report().Signal != "SIGUSR1" {
		t.Errorf("%+v", cmd.Report())
	}
}

func TestWrapStarted(t *testing.T) {
	inner := exec.Command("true")
	if err := inner.Run(); err != nil {
		t.Fatal(err)
	}
	if err := corral.Wrap(inner).Start(); err == nil || !strings.Contains(err.Error(), "has been started") {
		t.Errorf("Start: %v", err)
	}
}

// TestReportJSON pins the field names, which programs rely on.
func TestReportJSON(t *testing.T) {
	oddTime := 255945 * time.Microsecond // times a billion, it is less than a whole number
	rep := corral.Report{
		Command: []string{"npm", "test"}, Leader: corral.Process{PID: 10, Start: 11, Command: []string{"npm", "test"}},
		Ending: corral.TimedOut, ExitCode: -1, Signal: "SIGTERM", Forced: true, Containment: corral.Group,
		Declined: []corral.Declined{{Containment: corral.Keeper, Reason: "why"}}, BestEffort: "the quick",
		Leftovers: []corral.Leftover{
			{Process: corral.Process{PID: 12, Start: 13, Command: []string{"node"}}, Fate: corral.Signalled, Signal: "SIGTERM"},
			{Process: corral.Process{PID: 14, Start: 15, Command: []string{"x"}}, Fate: corral.Survived, Reason: "not permitted"},
		},
		Started: time.Date(2026, 1, 2, 3, 4, 5, 600, time.UTC), Elapsed: 1500 * time.Millisecond,
		UserTime: time.Millisecond, SystemTime: time.Second, PeakMemory: 4096,
		Usage: &corral.Usage{
			Run:    corral.Amounts{UserTime: new(time.Duration), PeakPIDs: new(int64)},
			Leader: corral.Amounts{SystemTime: &oddTime, PeakMemory: new(int64), Read: new(int64), Written: new(int64)},
		},
	}
	const want = `{"command":["npm","test"],"leader":{"pid":10,"start":11,"command":["npm","test"]},` +
		`"ending":"timed_out","exit_code":-1,"signal":"SIGTERM","forced":true,"containment":"group",` +
		`"declined":[{"containment":"keeper","reason":"why"}],"best_effort":"the quick",` +
		`"leftovers":[{"pid":12,"start":13,"command":["node"],"fate":"signalled","signal":"SIGTERM"},` +
		`{"pid":14,"start":15,"command":["x"],"fate":"survived","reason":"not permitted"}],` +
		`"started":"2026-01-02T03:04:05.0000006Z",` +
		`"usage":{"run":{"user_seconds":0,"peak_pids":0},` +
		`"leader":{"system_seconds":0.255945,"peak_memory_bytes":0,"read_bytes":0,"written_bytes":0}},"elapsed_seconds":1.5,"user_seconds":0.001,"system_seconds":1,` +
		`"peak_memory_bytes":4096}`
	got, err := json.Marshal(rep)
	if err != nil || string(got) != want {
		t.Errorf("%v\ngot  %s\nwant %s", err, got, want)
	}
	var back corral.Report
	if err := json.Unmarshal(got, &back); err != nil {
		t.Fatal(err)
	}
	if diff := diff.Of(rep, back); diff != "" {
		t.Errorf("changed:\n%s", diff)
	}
}

func TestReport(t *testing.T) {
	cmd := sh("exit 3")
	err := cmd.Run()
	if _, plain := err.(*corral.ExitError); !plain || !isExit(err, 3) {
		t.Errorf("Run: %v (%T)", err, err)
	}
	rep := cmd.Report()
	if rep.Leader.PID != cmd.Process.Pid || rep.Leader.Start == 0 || rep.ExitCode != 3 || rep.Signal != "" ||
		rep.Forced || rep.Containment != corral.Group || rep.PeakMemory < 1<<16 || rep.PeakMemory > 1<<32 ||
		rep.Elapsed <= 0 || rep.Started.IsZero() || rep.Leftovers == nil {
		t.Errorf("%+v", rep)
	}
	text, err := json.Marshal(rep)
	for _, nothing := range []string{`"declined":[]`, `"leftovers":[]`} {
		if err != nil || !strings.Contains(string(text), nothing) {
			t.Errorf("%v: %s does not say %s", err, text, nothing)
		}
	}
	var declined []corral.Containment
	for _, d := range rep.Declined {
		declined = append(declined, d.Containment)
		if d.Reason == "" {
			t.Errorf("no reason against %s", d.Containment)
		}
	}
	if len(declined) > 0 {
		t.Errorf("declined %v, though group was asked for", declined)
	}
}

func TestLogger(t *testing.T) {
	var log bytes.Buffer
	cmd := sh("sleep 60 & true")
	cmd.Logger = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	if err := cmd.Run(); err != nil {
		t.Error(err)
	}
	for _, want := range []string{"started", "left processes behind", "signalling", "SIGTERM"} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("no %q in\n%s", want, log.String())
		}
	}
}

// TestNothingStays: after many runs the owner has what it had before.
func TestNothingStays(t *testing.T) {
	run := func() {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		cmd := corral.CommandContext(ctx, "sh", "-c", "cat; sleep 60 & true")
		cmd.Containment = corral.Group
		cmd.Timeout = time.Minute
		cmd.WaitDelay = time.Minute
		cmd.Stdin = strings.NewReader("x")
		if out, err := cmd.CombinedOutput(); err != nil || string(out) != "x" {
			t.Errorf("%q, %v", out, err)
		}
	}
	run() // what is made once
	ignore := leak.Now()
	fds, threads := descriptors(t), threadCount(t)
	n := 200
	if testing.Short() {
		n = 20
	}
	for range n {
		run()
	}
	if after := descriptors(t); after > fds { // less, if another test's guard has gone to rest
		t.Errorf("%d descriptors before, %d after", fds, after)
	}
	// The runtime keeps threads that have been in a system call at the same time.
	if after := threadCount(t); after > threads+8 {
		t.Errorf("%d threads before, %d after", threads, after)
	}
	if err := leak.Since(ignore); err != nil {
		t.Error(err)
	}
}

func descriptors(t *testing.T) int {
	t.Helper()
	if runtime.GOOS != "linux" {
		return 0
	}
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

func threadCount(t *testing.T) int {
	t.Helper()
	if runtime.GOOS != "linux" {
		return 0
	}
	entries, err := os.ReadDir("/proc/self/task")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}
