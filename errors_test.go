//go:build linux || darwin || freebsd

package corral_test

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"reflect"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"testing/iotest"
	"time"

	"github.com/corral-run/corral"
	"github.com/corral-run/corral/internal/proctree"
)

// twin is a command of os/exec's or of this package's: what they have in common,
// and one field of ours.
type twin struct {
	*corral.Cmd // nil if it is os/exec's
	std         *exec.Cmd

	stdin          *io.Reader
	stdout, stderr *io.Writer
	cancel         *func() error
	waitDelay      *time.Duration
	dir            *string

	start, wait, run func() error
	output           func() ([]byte, error)
	stdoutPipe       func() (io.ReadCloser, error)

	end context.CancelCauseFunc // of its context
}

func theirs(c *exec.Cmd) *twin {
	return &twin{
		std: c, stdin: &c.Stdin, stdout: &c.Stdout, stderr: &c.Stderr, cancel: &c.Cancel, waitDelay: &c.WaitDelay, dir: &c.Dir,
		start: c.Start, wait: c.Wait, run: c.Run, output: c.Output, stdoutPipe: c.StdoutPipe,
	}
}

func ours(c *corral.Cmd) *twin {
	return &twin{
		Cmd: c, stdin: &c.Stdin, stdout: &c.Stdout, stderr: &c.Stderr, cancel: &c.Cancel, waitDelay: &c.WaitDelay, dir: &c.Dir,
		start: c.Start, wait: c.Wait, run: c.Run, output: c.Output, stdoutPipe: c.StdoutPipe,
	}
}

func (c *twin) state() *os.ProcessState {
	if c.Cmd != nil {
		return c.Cmd.ProcessState
	}
	return c.std.ProcessState
}

func (c *twin) process() *os.Process {
	if c.Cmd != nil {
		return c.Cmd.Process
	}
	return c.std.Process
}

// plan gives os/exec the Cancel that comes closest to the stop plan.
func (c *twin) plan(plan corral.StopPlan) {
	switch {
	case c.Cmd != nil:
		c.StopPlan = plan
	case len(plan) > 0:
		*c.cancel = func() error { return c.std.Process.Signal(plan[0].Signal) }
		*c.waitDelay = plan[0].Wait
	}
}

// ready starts the command, and waits for its first line.
func (c *twin) ready(t *testing.T) {
	t.Helper()
	r, err := c.stdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.start(); err != nil {
		t.Fatal(err)
	}
	awaitLine(t, r)
}

// cancelled starts the command, ends its context, and waits.
func (c *twin) cancelled(t *testing.T) error {
	t.Helper()
	c.ready(t)
	c.end(errors.New("the cause"))
	return c.wait()
}

var (
	errCopy   = errors.New("copying has failed")
	errCancel = errors.New("cancelling has failed")
)

const (
	obeys   = "echo; exec sleep 60"
	ignores = "trap '' TERM; echo; while :; do sleep .05; done"
	exits   = "trap 'exit 0' TERM; echo; while :; do sleep .05; done"
	fails   = "trap 'exit 3' TERM; echo; while :; do sleep .05; done"
)

// shapes are what a run can come to under os/exec.
var shapes = []struct {
	name, script string
	do           func(t *testing.T, c *twin) error
}{
	{"exits 0", "exit 0", func(_ *testing.T, c *twin) error { return c.run() }},
	{"exits 3", "exit 3", func(_ *testing.T, c *twin) error { return c.run() }},
	{"is killed", "kill -KILL $$", func(_ *testing.T, c *twin) error { return c.run() }},
	{"is terminated", "kill -TERM $$", func(_ *testing.T, c *twin) error { return c.run() }},
	{"waits twice", "exit 3", func(_ *testing.T, c *twin) error { return errors.Join(c.run(), c.wait()) }},
	{"starts twice", "exit 3", func(_ *testing.T, c *twin) error { return errors.Join(c.run(), c.start()) }},
	{"not started", "exit 3", func(_ *testing.T, c *twin) error { return c.wait() }},
	{"no such directory", "exit 3", func(_ *testing.T, c *twin) error { *c.dir = "/corral/no/such"; return c.run() }},
	{"context before the start", "exit 3", func(_ *testing.T, c *twin) error { c.end(errCancel); return c.run() }},

	{"context, plan kills, obeys", obeys, func(t *testing.T, c *twin) error { c.plan(corral.StopPlan{}); return c.cancelled(t) }},
	{"context, plan kills, ignores", ignores, func(t *testing.T, c *twin) error { c.plan(corral.StopPlan{}); return c.cancelled(t) }},
	{"context, default plan, obeys", obeys, func(t *testing.T, c *twin) error { c.plan(corral.DefaultStopPlan()); return c.cancelled(t) }},
	{"context, default plan, exits 0", exits, func(t *testing.T, c *twin) error { c.plan(corral.DefaultStopPlan()); return c.cancelled(t) }},
	{"context, default plan, exits 3", fails, func(t *testing.T, c *twin) error { c.plan(corral.DefaultStopPlan()); return c.cancelled(t) }},
	{"context, short plan, ignores", ignores, func(t *testing.T, c *twin) error {
		c.plan(corral.StopPlan{{Signal: syscall.SIGTERM, Wait: 50 * time.Millisecond}})
		return c.cancelled(t)
	}},

	{"Cancel nil, exits 0", exits, func(t *testing.T, c *twin) error { return cancelReturns(t, c, nil) }},
	{"Cancel nil, exits 3", fails, func(t *testing.T, c *twin) error { return cancelReturns(t, c, nil) }},
	{"Cancel done, exits 0", exits, func(t *testing.T, c *twin) error { return cancelReturns(t, c, os.ErrProcessDone) }},
	{"Cancel done, exits 3", fails, func(t *testing.T, c *twin) error { return cancelReturns(t, c, os.ErrProcessDone) }},
	{"Cancel fails, exits 0", exits, func(t *testing.T, c *twin) error { return cancelReturns(t, c, errCancel) }},
	{"Cancel fails, exits 3", fails, func(t *testing.T, c *twin) error { return cancelReturns(t, c, errCancel) }},
	{"Cancel does nothing, WaitDelay", obeys, func(t *testing.T, c *twin) error {
		*c.cancel, *c.waitDelay = func() error { return nil }, 10*time.Millisecond
		return c.cancelled(t)
	}},
	{"no Cancel, WaitDelay", obeys, func(t *testing.T, c *twin) error {
		*c.cancel, *c.waitDelay = nil, 10*time.Millisecond
		return c.cancelled(t)
	}},
	{"no Cancel, exits by itself", "echo; sleep .1; exit 0", func(t *testing.T, c *twin) error { *c.cancel = nil; return c.cancelled(t) }},

	{"Stdin late", "exit 0", func(_ *testing.T, c *twin) error { lateInput(c, 50*time.Millisecond); return c.run() }},
	{"Stdin late, exits 3", "exit 3", func(_ *testing.T, c *twin) error { lateInput(c, 50*time.Millisecond); return c.run() }},
	{"Stdin late, Cancel nil", exits, func(t *testing.T, c *twin) error { lateInput(c, toObey); return cancelReturns(t, c, nil) }},
	{"Stdin late, Cancel done", exits, func(t *testing.T, c *twin) error {
		lateInput(c, toObey)
		return cancelReturns(t, c, os.ErrProcessDone)
	}},
	{"Stdin late, Cancel fails", exits, func(t *testing.T, c *twin) error {
		lateInput(c, toObey)
		return cancelReturns(t, c, errCancel)
	}},
	{"output kept", "sleep 60 & echo $!", func(t *testing.T, c *twin) error {
		if c.Cmd != nil {
			c.Leftovers = corral.KeepLeftovers
		}
		*c.waitDelay = 50 * time.Millisecond
		out, err := c.output()
		if pid := atoi(strings.TrimSpace(string(out))); pid > 1 {
			syscall.Kill(pid, syscall.SIGKILL)
		}
		return err
	}},

	{"Stdin fails", "cat >&2", func(_ *testing.T, c *twin) error { *c.stdin = iotest.ErrReader(errCopy); return c.run() }},
	{"Stdout fails", "echo", func(_ *testing.T, c *twin) error { *c.stdout = failing; return c.run() }},
	{"Stdout fails, exits 3", "echo; exit 3", func(_ *testing.T, c *twin) error { *c.stdout = failing; return c.run() }},
	{"Stderr fails, SIGPIPE", "while :; do echo >&2; done", func(_ *testing.T, c *twin) error { *c.stderr = failing; return c.run() }},

	{"Output, exits 3", "echo why >&2; exit 3", func(_ *testing.T, c *twin) error { _, err := c.output(); return err }},
	{"Output, much", "seq 30000 >&2; exit 3", func(_ *testing.T, c *twin) error { _, err := c.output(); return err }},
	{"Output, Stderr set", "echo why >&2; exit 3", func(_ *testing.T, c *twin) error {
		*c.stderr = new(bytes.Buffer)
		_, err := c.output()
		return err
	}},
	{"Output, Stdout set", "exit 3", func(_ *testing.T, c *twin) error {
		*c.stdout = new(bytes.Buffer)
		_, err := c.output()
		return err
	}},
}

var failing = writerFunc(func([]byte) (int, error) { return 0, errCopy })

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(b []byte) (int, error) { return f(b) }

// cancelReturns has a Cancel that ends the command and returns err.
func cancelReturns(t *testing.T, c *twin, err error) error {
	t.Helper()
	*c.cancel = func() error {
		c.process().Signal(syscall.SIGTERM)
		return err
	}
	return c.cancelled(t)
}

// toObey is a WaitDelay that a command needs little of to obey. It is used up, as
// the input is late.
const toObey = 2 * time.Second

// lateInput gives c an input that comes to its end when it is late. os/exec waits
// for that. The delay counts from the leader's end, or from before that, and so the
// reader's time does too, however long the start has taken.
func lateInput(c *twin, delay time.Duration) {
	*c.waitDelay = delay
	*c.stdin = readerFunc(func([]byte) (int, error) {
		if id, err := proctree.Identify(c.process().Pid); err == nil { // else it has been reaped
			if leader, err := proctree.Open(id); err == nil {
				leader.Wait(context.Background())
				leader.Close()
			}
		}
		time.Sleep(delay + 2*time.Second)
		return 0, io.EOF
	})
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(b []byte) (int, error) { return f(b) }

// TestErrors runs what may happen to a command side by side with os/exec: the error
// is of the same type, says the same, and is the same where it is one to be
// compared with.
func TestErrors(t *testing.T) {
	type outcome struct {
		err   error
		state string
	}
	want := make([]outcome, len(shapes))
	t.Run("os-exec", func(t *testing.T) {
		for i, tt := range shapes {
			t.Run(tt.name, func(t *testing.T) {
				t.Parallel()
				ctx, end := context.WithCancelCause(t.Context())
				std := theirs(exec.CommandContext(ctx, "sh", "-c", tt.script))
				std.end = end
				err := tt.do(t, std)
				want[i] = outcome{err, fmt.Sprint(std.state())}
			})
		}
	})
	for _, cont := range append(containments, corral.Auto) {
		t.Run(cmp.Or(string(cont), "auto"), func(t *testing.T) {
			need(t, cont)
			for i, tt := range shapes {
				t.Run(tt.name, func(t *testing.T) {
					if tt.name == "output kept" && cont == corral.PIDNS {
						t.Skip("the kernel ends all that is left in a PID namespace")
					}
					t.Parallel()
					ctx, end := context.WithCancelCause(t.Context())
					c := corral.CommandContext(ctx, "sh", "-c", tt.script)
					c.Containment, c.Require = cont, cont
					our := ours(c)
					our.end = end
					sameError(t, tt.do(t, our), want[i].err)
					if got := fmt.Sprint(our.state()); got != want[i].state {
						t.Errorf("ProcessState %s; os/exec's is %s", got, want[i].state)
					}
				})
			}
		})
	}
}

// sameError holds got against want, which is os/exec's.
func sameError(t *testing.T, got, want error) {
	t.Helper()
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Fatalf("%v (%T); os/exec: %v (%T)", got, got, want, want)
	}
	wrapped := func(err error) bool { return err != nil && strings.HasSuffix(fmt.Sprintf("%T", err), ".wrappedError") }
	if reflect.TypeOf(got) != reflect.TypeOf(want) && !wrapped(want) { // that one is unexported
		t.Errorf("%T; os/exec's is a %T", got, want)
	}
	for _, sentinel := range []error{context.Canceled, context.DeadlineExceeded, corral.ErrWaitDelay, errCopy} {
		if (got == sentinel) != (want == sentinel) {
			t.Errorf("== %v: %v; os/exec: %v", sentinel, got == sentinel, want == sentinel)
		}
	}
	for _, sentinel := range []error{errCancel, errCopy, os.ErrNotExist, os.ErrPermission, corral.ErrNotFound} {
		if errors.Is(got, sentinel) != errors.Is(want, sentinel) {
			t.Errorf("is %v: %v; os/exec: %v", sentinel, errors.Is(got, sentinel), errors.Is(want, sentinel))
		}
	}
	if exit, ok := want.(*exec.ExitError); ok && string(got.(*exec.ExitError).Stderr) != string(exit.Stderr) {
		t.Errorf("Stderr %.100q; os/exec: %.100q", got.(*exec.ExitError).Stderr, exit.Stderr)
	}
}

// overdue is a context whose deadline passes when the test says so.
type overdue struct {
	context.Context
	passed chan struct{}
}

func (c overdue) Done() <-chan struct{} { return c.passed }

func (c overdue) Err() error {
	select {
	case <-c.passed:
		return context.DeadlineExceeded
	default:
		return nil
	}
}

// TestErrorsDeadline: as TestErrors, with a context that ends by itself, after the
// command has come to its trap.
func TestErrorsDeadline(t *testing.T) {
	for script, plan := range map[string]corral.StopPlan{obeys: {}, exits: corral.DefaultStopPlan()} {
		run := func(t *testing.T, build func(context.Context) *twin) (state string, err error) {
			ctx := overdue{context.Background(), make(chan struct{})}
			c := build(ctx)
			c.plan(plan)
			c.ready(t)
			close(ctx.passed)
			err = c.wait()
			return fmt.Sprint(c.state()), err
		}
		state, want := run(t, func(ctx context.Context) *twin { return theirs(exec.CommandContext(ctx, "sh", "-c", script)) })
		for _, cont := range append(containments, corral.Auto) {
			t.Run(cmp.Or(string(cont), "auto"), func(t *testing.T) {
				need(t, cont)
				gotState, got := run(t, func(ctx context.Context) *twin {
					c := corral.CommandContext(ctx, "sh", "-c", script)
					c.Containment, c.Require = cont, cont
					return ours(c)
				})
				sameError(t, got, want)
				if gotState != state {
					t.Errorf("ProcessState %s; os/exec's is %s", gotState, state)
				}
			})
		}
	}
}

// TestErrorsOfStart: as TestErrors, for what cannot be started.
func TestErrorsOfStart(t *testing.T) {
	notExecutable := t.TempDir() + "/file"
	writeFile(t, notExecutable, nil)
	for _, path := range []string{"corral-no-such-command", "/corral/no/such/path", notExecutable, "/", ""} {
		want := exec.Command(path).Run()
		for _, cont := range append(containments, corral.Auto) {
			t.Run(path+"/"+cmp.Or(string(cont), "auto"), func(t *testing.T) {
				need(t, cont)
				c := corral.Command(path)
				c.Containment, c.Require = cont, cont
				sameError(t, c.Run(), want)
			})
		}
	}
	sameError(t, new(corral.Cmd).Run(), new(exec.Cmd).Run())
	cancel := func() error { return nil }
	sameError(t, (&corral.Cmd{Path: "/bin/true", Cancel: cancel}).Run(), (&exec.Cmd{Path: "/bin/true", Cancel: cancel}).Run())
}

// TestErrorsJoined: the fields with errors of their own have all of them in one.
func TestErrorsJoined(t *testing.T) {
	because := errors.New("because")
	other := exec.Command("sleep", "60") // a lifeline
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	defer other.Wait()
	defer other.Process.Kill()
	for _, tt := range []struct {
		name   string
		set    func(c *corral.Cmd)
		joined bool
	}{
		{"nothing", func(*corral.Cmd) {}, false},
		{"StopPlan", func(c *corral.Cmd) { c.StopPlan = corral.StopPlan{} }, false},
		{"Leftovers: KeepLeftovers", func(c *corral.Cmd) { c.Leftovers = corral.KeepLeftovers }, false},
		{"Timeout", func(c *corral.Cmd) { c.Timeout = time.Minute }, true},
		{"Lifelines", func(c *corral.Cmd) {
			c.Lifelines = []corral.Lifeline{corral.Lifeline("pid:" + strconv.Itoa(other.Process.Pid))}
		}, true},
		{"Leftovers: FailOnLeftovers", func(c *corral.Cmd) { c.Leftovers = corral.FailOnLeftovers }, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ctx, end := context.WithCancelCause(t.Context())
			c := corral.CommandContext(ctx, "sh", "-c", obeys)
			tt.set(c)
			started(t, c)
			end(because)
			err := c.Wait()
			_, alone := err.(*corral.ExitError)
			if !isExit(err, -1) || alone == tt.joined || errors.Is(err, because) != tt.joined || errors.Is(err, context.Canceled) != tt.joined {
				t.Errorf("%v (%T)", err, err)
			}
			if rep := c.Report(); rep.Ending != corral.Cancelled || rep.Cause != "because" {
				t.Errorf("%+v", rep)
			}
		})
	}
}

// TestKill: the whole run, whatever it does about SIGTERM.
func TestKill(t *testing.T) {
	if err := corral.Command("true").Kill(); err == nil || err.Error() != "exec: not started" {
		t.Errorf("before the start: %v", err)
	}
	for _, cont := range containments {
		t.Run(cmp.Or(string(cont), "auto"), func(t *testing.T) {
			need(t, cont)
			r, w, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			cmd := contained(cont, "sh", "-c", "trap '' TERM; sleep 60 & echo; wait")
			cmd.StopPlan = corral.StopPlan{{Signal: syscall.SIGTERM, Wait: time.Minute}}
			cmd.ExtraFiles = []*os.File{w}
			started(t, cmd)
			w.Close()
			if err := cmd.Kill(); err != nil {
				t.Error(err)
			}
			if _, err := io.ReadAll(r); err != nil { // nobody is left
				t.Error(err)
			}
			err = cmd.Wait()
			if exit, ok := err.(*exec.ExitError); !ok || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
				t.Errorf("Wait: %v (%T)", err, err)
			}
			if rep := cmd.Report(); rep.Ending != corral.Exited || rep.Signal != "SIGKILL" {
				t.Errorf("%+v", rep)
			}
			if err := cmd.Kill(); !errors.Is(err, os.ErrProcessDone) {
				t.Errorf("after the end: %v", err)
			}
		})
	}
}

// TestContainmentErrorReasons: neighbours that have the same reason share it.
func TestContainmentErrorReasons(t *testing.T) {
	err := &corral.ContainmentError{Declined: []corral.Declined{
		{Containment: corral.Cgroup, Reason: "cgroup: one"}, {Containment: corral.Keeper, Reason: "two"}, {Containment: corral.Group, Reason: "two"},
	}}
	if got, want := err.Error(), "corral: no suitable containment: cgroup: one; keeper, group: two"; got != want {
		t.Errorf("%q; want %q", got, want)
	}
}
