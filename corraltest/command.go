package corraltest

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/corral-run/corral"
	"github.com/corral-run/corral/internal/headtail"
	"github.com/corral-run/corral/internal/observer"
)

// Command returns a command that does not outlive the test. It is a corral.Cmd
// like any other: set its fields, then call Run, Output, or Start and Wait, or
// none of them.
//
// The command is stopped, with all that it has started, when t.Context is done,
// which is before any function of t.Cleanup is called. The test then waits until
// nothing is left. If a cleanup function of the test's still needs the command, use
// [CommandContext] with context.WithoutCancel(t.Context()).
//
// The test fails if the command ends by itself and leaves processes that do not end
// within a second, and the failure shows their tree. They are stopped. It does not
// fail for what is stopped together with the command, nor for what it keeps on
// purpose (corral.KeepLeftovers, corral.DetachLeftovers, Cmd.Keep, Cmd.AllowDetach,
// a Scope, Process.Release). It fails if something cannot be stopped, or it is not known whether anything is left.
//
// If the test fails, the first and last 32 KiB of the output are logged, with how
// the command has ended: what goes to a Stdout or Stderr that is nil, and the
// standard error of Output. What the test takes itself is the test's.
//
// Command cannot be used in a bubble of testing/synctest, as a process does not
// live in the bubble's time: the test fails. It calls t.FailNow then, so call it
// from the goroutine of the test, benchmark or fuzz target.
func Command(t testing.TB, name string, args ...string) *corral.Cmd {
	t.Helper()
	return CommandContext(t, t.Context(), name, args...)
}

// CommandContext is Command with another context than t.Context. The command is
// stopped when ctx is done, and by t.Cleanup: what has been registered before
// is called after that, what has been registered later before.
func CommandContext(t testing.TB, ctx context.Context, name string, args ...string) *corral.Cmd {
	t.Helper()
	if inBubble() {
		t.Fatal(errBubble)
	}
	c := &command{t: t}
	ctx, cancel := context.WithCancelCause(observer.With(ctx, c))
	c.cmd = corral.CommandContext(ctx, name, args...)
	t.Cleanup(func() {
		t.Helper()
		cancel(errOver)
		c.cleanup()
	})
	return c.cmd
}

var (
	errOver   = errors.New("corraltest: the test is over")
	errBubble = errors.New("corraltest: a command cannot run in a synctest bubble, whose time is not that of processes: start it outside of synctest.Test")
)

// inBubble reports whether the calling goroutine is in a bubble of testing/synctest.
// There is no function for that, but traces say it.
func inBubble() bool {
	b := make([]byte, 256)
	line, _, _ := strings.Cut(string(b[:runtime.Stack(b, false)]), "\n")
	return strings.Contains(line, "synctest bubble")
}

// command is one command of a test. The test may use the Cmd in other goroutines;
// so this learns from the run itself what they do, and not from the Cmd's fields.
type command struct {
	left
	t   testing.TB
	cmd *corral.Cmd
	out output

	mu       sync.Mutex
	over     bool          // the test is
	starting chan struct{} // closed when Start has returned; nil if it has not been called
	wait     func() error  // as Cmd.Wait, which the test may call too; nil if nothing has been started
}

func (c *command) Starting() error {
	if inBubble() {
		return errBubble
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.starting = make(chan struct{})
	if c.over {
		return errOver
	}
	c.capture()
	return nil
}

func (c *command) Started(_ error, wait func() error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.wait = wait
	if c.starting != nil { // else Start was called in a bubble, which a channel may not leave
		close(c.starting)
	}
}

// capture takes the output that would go nowhere. A process that is to be kept does
// not get a pipe that ends with the test.
func (c *command) capture() {
	cmd := c.cmd
	c.out.partial = true
	keeps := cmd.Leftovers == corral.KeepLeftovers || cmd.Leftovers == corral.DetachLeftovers || cmd.Keep != nil || cmd.AllowDetach
	if cmd.PTY != nil || keeps {
		return
	}
	c.out.partial = false
	if cmd.Stdout == nil {
		cmd.Stdout = &c.out
	} else {
		c.out.partial = true
	}
	switch w := cmd.Stderr.(type) {
	case nil:
		cmd.Stderr = &c.out
	case *headtail.Writer: // Output's, for an ExitError that the test may not look at
		if cmd.OutputLimit == 0 {
			cmd.Stderr = both{w, &c.out}
		}
	default:
		c.out.partial = true
	}
}

// both is a writer to two. The second never fails.
type both struct {
	first  *headtail.Writer
	second *output
}

func (b both) Write(p []byte) (int, error) {
	b.second.Write(p)
	return b.first.Write(p)
}

// cleanup ends the run if it has not ended, and judges it.
func (c *command) cleanup() {
	c.t.Helper()
	c.mu.Lock()
	c.over = true
	starting := c.starting
	c.mu.Unlock()
	if starting == nil {
		return
	}
	<-starting
	c.mu.Lock()
	wait := c.wait
	c.mu.Unlock()
	if wait == nil {
		return
	}
	// The context's end stops the run, unless the test has replaced Cancel.
	c.cmd.Stop(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		wait()
	}()
	const patience = 30 * time.Second // Wait is bounded, but not what is written to
	select {
	case <-ended:
	case <-time.After(patience):
		c.t.Errorf("corraltest: %v: Wait has not returned", c.cmd)
		return
	}
	c.judge(c.cmd.Report())
}

func (c *command) judge(r *corral.Report) {
	c.t.Helper()
	if c.cmd.Leftovers == corral.HoldLeftovers {
		held := *r
		held.Leftovers = r.Survivors() // what a Scope holds, it stops
		r = &held
	}
	if text := c.verdict(r, c.cmd.String()); text != "" {
		c.t.Error("corraltest: " + text)
	}
	if c.t.Failed() {
		c.t.Logf("corraltest: %v: %s%s", c.cmd, ending(r), c.out.text())
	}
}

// ending says in words how the command has ended.
func ending(r *corral.Report) string {
	how := fmt.Sprintf("exit status %d", r.ExitCode)
	switch {
	case r.Ending == corral.Released:
		how = "let go"
	case r.Signal != "":
		how = "ended by " + r.Signal
	}
	if r.Ending != corral.Exited && r.Ending != corral.Released {
		how += " (" + string(r.Ending) + ")"
	}
	return how
}

// output keeps the beginning and the end of what is written.
type output struct {
	mu   sync.Mutex
	kept strings.Builder
	cut  headtail.Writer
	done bool

	partial bool // the test has some of the output, or all
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.done {
		return len(p), nil
	}
	o.cut.To, o.cut.Limit = &o.kept, 64<<10
	return o.cut.Write(p)
}

// text returns what has been written, for a log. What comes later is thrown away.
func (o *output) text() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.cut.To != nil && !o.done {
		o.cut.Flush()
	}
	o.done = true
	if o.kept.Len() == 0 && o.partial {
		return ""
	}
	if o.kept.Len() == 0 {
		return ", no output"
	}
	return ", output:\n" + o.kept.String()
}
