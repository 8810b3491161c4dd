package corral

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/corral-run/corral/internal/headtail"
	"github.com/corral-run/corral/internal/observer"
	"github.com/corral-run/corral/internal/registry"
)

// These are os/exec's own, so that a file that imported os/exec needs no
// second import.
type (
	Error     = exec.Error
	ExitError = exec.ExitError
)

var (
	ErrDot       = exec.ErrDot
	ErrNotFound  = exec.ErrNotFound
	ErrWaitDelay = exec.ErrWaitDelay
)

// LookPath is exec.LookPath.
func LookPath(file string) (string, error) { return exec.LookPath(file) }

// Cmd is a command being prepared or run, with everything it starts.
//
// The fields up to WaitDelay, and the methods that both types have, have the names
// and the meaning of exec.Cmd's; where Corral goes further, the field says so. Like
// an exec.Cmd, a Cmd is used once, and Wait must be called after Start.
type Cmd struct {
	// Path is the path of the command to run, relative to Dir if relative.
	// It is the only field that must be set.
	Path string

	// Args holds the command line arguments, the command as Args[0]. If it is
	// empty, {Path} is used.
	Args []string

	// Env is the environment, as "key=value". Nil means the owner's. Of duplicate
	// keys the last one counts.
	Env []string

	// Dir is the working directory. Empty means the owner's.
	Dir string

	// Stdin, Stdout and Stderr are the standard streams. Nil is the null device. An
	// *os.File is given to the command as it is. For anything else a goroutine
	// copies over a pipe, and Wait waits for it. If Stdout and Stderr are equal,
	// one pipe and one goroutine serve both.
	//
	// Unlike os/exec, Wait does not wait for ever when somebody outside the run, or
	// a leftover that was kept, holds a pipe open: see WaitDelay.
	Stdin  io.Reader
	Stdout io.Writer
	Stderr io.Writer

	// ExtraFiles become descriptors 3 and up of the command. Windows does not
	// support them.
	ExtraFiles []*os.File

	// SysProcAttr holds attributes particular to the operating system. Corral adds
	// what its containment needs to a copy. Start returns an error if the two
	// exclude each other.
	SysProcAttr *syscall.SysProcAttr

	// Process is the leader, once started. Under keeper and pidns containment it is
	// not a child of the owner: Process.Wait returns ECHILD there, so use Wait.
	//
	// Process.Release after Start, if nobody has called Wait, lets the run go, as
	// it does under os/exec: all members are left alone, also when the owner ends.
	// Timeout, IdleTimeout, the context and Lifelines then have no effect. The Report says
	// Released. Wait (with EINVAL), Stop and Signal return errors.
	//
	// Corral has to notice the release. That takes less than a millisecond if
	// SysProcAttr.Setsid is set and Release follows at once; otherwise it takes at
	// most as long as the run had lasted before. An owner that ends sooner takes
	// the run with it: DetachLeftovers is the sure way. Under group containment the
	// leader keeps its parent-death signal.
	Process *os.Process

	// ProcessState is the leader's exit status, once Wait has returned.
	ProcessState *os.ProcessState

	// Err is the error of LookPath, if any; Start returns it.
	Err error

	// Cancel is called when the context of CommandContext is done. CommandContext
	// sets one that runs the stop plan against the whole run. If it is replaced,
	// the new one is called instead, and Leftovers says, as ever, what happens to
	// what the command leaves.
	Cancel func() error

	// WaitDelay, if not zero, is the time from the end of the context until all
	// that is left of the run is killed, whatever Cancel or the stop plan are
	// doing.
	//
	// It also bounds the copying of output when nothing is left that Corral would
	// stop, but something still holds a pipe open: a leftover that was kept, or a
	// process outside the run. Output written until then is delivered. Wait returns
	// ErrWaitDelay if there is no other error, and the Report names the holders. In
	// the same way it bounds the wait for a Stdin whose Read does not return,
	// unless Stdin is a lifeline, there is a PTY, or the stop plan has closed the
	// input. For these waits, zero means one second.
	WaitDelay time.Duration

	// Timeout, if not zero, is the time from Start after which the stop plan
	// runs. Wait's error is then a context.DeadlineExceeded.
	Timeout time.Duration

	// IdleTimeout, if not zero, is how long the command may write nothing to Stdout
	// and Stderr before the stop plan runs. Wait's error then holds an *IdleError,
	// which is a context.DeadlineExceeded too. The time begins anew with Start and
	// with all that is read. It also does when a slow writer has taken what it was
	// given, and when the owner itself was stopped meanwhile (Ctrl-Z).
	//
	// Only what Corral copies can be seen. So Start returns an error
	//   - if Stdout or Stderr is an *os.File, unless there is an OutputLimit, for which
	//     that is copied too;
	//   - if one of them is a pipe of StdoutPipe or StderrPipe, or the caller reads the
	//     PTY;
	//   - if both are nil. If one of them is nil, what goes there does not count.
	IdleTimeout time.Duration

	// StopPlan is how the run is stopped. Nil means DefaultStopPlan(): SIGTERM, and
	// five seconds to obey. An empty plan that is not nil kills at once:
	//
	//	cmd.StopPlan = corral.StopPlan{} // as os/exec
	//
	// This is the first difference from os/exec that a program sees. When the
	// context is done, os/exec kills, and the error is "signal: killed". Here it is
	// "signal: terminated", and a command that ignores SIGTERM takes five seconds
	// longer.
	StopPlan StopPlan

	// Leftovers says what to do with members that are alive when the leader has
	// ended.
	Leftovers LeftoverPolicy

	// Keep, if not nil, says which members may go on living when the rest is
	// stopped. It is asked once for each one but the leader: when the leader has
	// ended, or before the stop plan runs. A process for which it returns true is
	// kept, also when the owner ends, however it ends. So is all that is below it or
	// in a session that it leads, for which Keep is not asked, and all that it starts
	// later. The Report lists them.
	//
	// Decide by what the kernel knows of a process: see Process.Executable.
	// KeepPrograms makes a function of file names. A kept process may execute
	// another program later, so Keep is not for commands that are not trusted.
	//
	// Under cgroup containment all members are frozen meanwhile. Keep is called in
	// a goroutine of its own, and has five seconds in all, by which a stop may take
	// longer. Processes that it has not been asked about by then are not kept. It is
	// not asked when the owner dies, after Cmd.Signal(os.Kill), or once WaitDelay is
	// over.
	//
	// It takes cgroup or keeper containment, on Linux. Elsewhere Start returns a
	// *ContainmentError. KeepLeftovers and DetachLeftovers keep everything, so with
	// them it is an error.
	Keep func(Process) bool

	// AllowDetach lets members leave the run by themselves, as the command "corral
	// detach" does: see docs/keep.md. The environment of the command then has a
	// CORRAL_DETACH. Without AllowDetach, that of a run around this one is taken out
	// of it. The Report lists those that have left. AllowDetach works where Keep works.
	AllowDetach bool

	// Scope, if not nil, is what the command is in: see Scope.
	Scope *Scope

	// Name, if not empty, registers the run until its end. The command corral of the
	// same user, or of root, can then list, inspect, signal and stop it: see
	// docs/runs.md, and RunID. A name has at most 64 letters, digits, and . _ - after
	// the first one, and need not be unique. A run that cannot be registered goes on
	// without, as on Windows.
	Name string

	// Labels describe a run with a Name, for the command corral, as "team": "a".
	Labels map[string]string

	// Redact keeps the arguments of the command, and those of its members, out of what
	// is registered and told of a run with a Name: also to Logger, but not out of the
	// Report. The environment is never in it.
	Redact bool

	// Containment is the containment wanted. If it is not available here, Start
	// takes the next weaker one, and the Report says so. The default, Auto, is the
	// strongest that works here without changing what the command sees.
	Containment Containment

	// Require is the weakest containment that will do. If only weaker ones are
	// available, Start returns a *ContainmentError and starts nothing.
	Require Containment

	// AdoptOrphans makes the calling process a subreaper for good (Linux:
	// PR_SET_CHILD_SUBREAPER of prctl(2)), and treats every orphan it adopts as a
	// member: those of a keeper that a member has killed, one that has moved to
	// another control group, one that has left its process group. It reaps them, on
	// SIGCHLD.
	//
	// It is for a program that starts nothing but one run at a time, as the command
	// corral is, because other children may be taken for members. Children that
	// exist before Start are not members, nor are their descendants, unless one
	// becomes an orphan before Corral has seen where it came from. If the system
	// refuses adoption, the run goes without, and Report.BestEffort says so. On
	// systems other than Linux, Start returns an errors.ErrUnsupported.
	AdoptOrphans bool

	// Lifelines are things outside the run, such as the connection over which the
	// owner was started. When one of them is lost, the stop plan runs, and the
	// Ending is LifelineLost. If one cannot be watched, Start returns an error.
	Lifelines []Lifeline

	// PTY, if not nil, gives the command a terminal of its own.
	PTY *PTY

	// OutputLimit, if not zero, is how many bytes of each output stream are passed
	// on: the first half at once, and the last half at the end, after a line that
	// says how many bytes are missing in between. What is left out takes no memory;
	// the Report counts it.
	//
	// Output and CombinedOutput return that much. Stdout (also with a PTY) and
	// Stderr get that much: each of them, or both together if they are equal.
	// Corral then copies to an *os.File too, and gives the command a pipe in its
	// place. What the caller reads, from StdoutPipe, StderrPipe or a PTY, the
	// caller limits.
	OutputLimit int64

	// Limits bound what the run may use.
	Limits Limits

	// Accounting asks for Report.Usage: what the run has used, as far as that is known.
	// Limits ask for it, too. It costs a control group of the run's own.
	Accounting bool

	// Logger is told what Corral does with the run (level Debug), and what went
	// wrong without ending it (level Warn). Nil is silent. What docs/events.md calls
	// an event is one record, with the names that it has there as attributes.
	//
	// A goroutine of its own calls it, which is there only while there is something to
	// tell. A handler that takes long, panics or never returns holds up only Wait, and
	// Start if it fails, by a second at most. What has not been logged by then may be
	// logged later. If there is too much to log, "dropped" counts the records that are
	// missing before one.
	Logger *slog.Logger

	ctx         context.Context
	wrapped     *exec.Cmd // what Wrap was given: its Cancel may look at its Process
	startCalled int32     // by sync/atomic, as in os/exec: a Cmd that has not been started may be copied
	stdio       stdio
	run         *run

	killAtOwnersDeath bool // see Contain
}

// Command returns a Cmd for the named program, which it looks up in PATH as
// exec.Command does.
func Command(name string, arg ...string) *Cmd {
	c := exec.Command(name, arg...)
	return &Cmd{Path: c.Path, Args: c.Args, Err: c.Err}
}

// CommandContext is like Command, and stops the run if ctx is done before the run
// has ended: Cancel is set to run the stop plan against all members.
func CommandContext(ctx context.Context, name string, arg ...string) *Cmd {
	if ctx == nil {
		panic("nil Context")
	}
	c := Command(name, arg...)
	c.setContext(ctx)
	return c
}

func (c *Cmd) setContext(ctx context.Context) {
	c.ctx = ctx
	c.Cancel = func() error { return c.run.cancel() }
}

// inner is the command as os/exec knows it, without the streams.
func (c *Cmd) inner() *exec.Cmd {
	return &exec.Cmd{
		Path: c.Path, Args: c.Args, Env: c.Env, Dir: c.Dir,
		ExtraFiles: c.ExtraFiles, SysProcAttr: c.SysProcAttr, Err: c.Err,
	}
}

// String returns a description of c for people, as exec.Cmd.String does.
func (c *Cmd) String() string {
	if len(c.Args) == 0 {
		return c.Path
	}
	return c.inner().String()
}

// Environ returns the environment in which the command would be run now.
func (c *Cmd) Environ() []string { return c.inner().Environ() }

// Run starts the command and waits for it and for all that it started.
//
// If the calling goroutine has locked its operating system thread and changed
// the thread's state (such as Linux name spaces), the command inherits it.
func (c *Cmd) Run() error {
	if err := c.start(true); err != nil {
		return err
	}
	defer c.run.unlockThread()
	return c.Wait()
}

// Start starts the command inside its containment, and returns. What the command
// leaves when it ends is dealt with even if Wait has not been called.
//
// Its errors are those of exec.Cmd.Start, in the same words; a *ContainmentError;
// or one that says which attributes exclude each other. After an error nothing is
// running.
func (c *Cmd) Start() error { return c.start(false) }

// start starts the command. If inline, the calling goroutine will call Wait next,
// so no other one has to look after the run.
func (c *Cmd) start(inline bool) (err error) {
	if atomic.SwapInt32(&c.startCalled, 1) != 0 {
		return errors.New("exec: already started")
	}
	watcher := observer.Of(c.ctx)
	err = watcher.Starting()
	defer func() {
		if err != nil {
			watcher.Started(err, nil)
		} else {
			watcher.Started(nil, c.run.wait)
		}
	}()
	if err == nil {
		err = c.check()
	}
	if err == nil && c.Scope != nil {
		if err = c.Scope.enter(); err == nil {
			defer func() { c.Scope.entered(c) }()
		}
	}
	if err == nil {
		c.run = newRun(c)
		c.stdio.idle = c.run.idle
		if err = c.run.prepare(); err == nil {
			c.run.list()
			err = c.run.start(inline)
		}
	}
	c.stdio.closeChild()
	if err != nil {
		c.stdio.closeParent()
		if c.run != nil {
			c.run.unlist(nil, nil, registry.NotStarted)
			c.run.close()
			c.run.events.flush()
		}
		return err
	}
	c.stdio.copy()
	c.run.watch(c.ctx)
	c.run.listStarted()
	if !inline {
		c.run.watchRelease()
	}
	return nil
}

// check checks all that can be checked before anything is opened.
func (c *Cmd) check() error {
	switch {
	case len(ladder) == 0: // the reason for whatever else is wrong (on wasm there is no file in PATH)
		return &ContainmentError{Wanted: c.Containment, Required: c.Require}
	case c.Path == "" && c.Err == nil:
		c.Err = errors.New("exec: no command")
		fallthrough
	case c.Err != nil:
		return c.Err
	case c.Cancel != nil && c.ctx == nil:
		return errors.New("exec: command with a non-nil Cancel was not created with CommandContext")
	case c.ctx != nil && c.ctx.Err() != nil:
		return c.ctx.Err()
	case c.Timeout < 0:
		return fmt.Errorf("corral: negative Timeout %v", c.Timeout)
	case c.IdleTimeout < 0:
		return fmt.Errorf("corral: negative IdleTimeout %v", c.IdleTimeout)
	case c.OutputLimit < 0:
		return fmt.Errorf("corral: negative OutputLimit %d", c.OutputLimit)
	case c.Leftovers < KillLeftovers || c.Leftovers > HoldLeftovers:
		return fmt.Errorf("corral: unknown LeftoverPolicy %d", c.Leftovers)
	case c.Keep != nil && c.Leftovers.keeps():
		return errors.New("corral: Keep says which leftovers are kept, but by Leftovers all are: set one of the two")
	}
	if err := c.Limits.check(); err != nil {
		return err
	}
	if c.SysProcAttr == nil && c.Dir != "" {
		// os.StartProcess does this if there are no attributes; Corral adds some.
		if _, err := os.Stat(c.Dir); err != nil {
			return &fs.PathError{Op: "chdir", Path: c.Dir, Err: errors.Unwrap(err)}
		}
	}
	if c.IdleTimeout > 0 {
		if err := c.checkIdle(); err != nil {
			return err
		}
	}
	if err := c.checkScope(); err != nil {
		return err
	}
	if err := c.checkListing(); err != nil {
		return err
	}
	return c.StopPlan.check()
}

// setProcess makes the leader visible to the caller. It writes Process once, before
// Start returns, because Stop and others read it at any time.
func (c *Cmd) setProcess(p *os.Process) {
	c.Process = p
	if c.wrapped != nil {
		c.wrapped.Process = p
	}
}

// setState makes visible how the leader ended.
func (c *Cmd) setState(s *os.ProcessState) {
	c.ProcessState = s
	if c.wrapped != nil {
		c.wrapped.ProcessState = s
	}
}

// Wait waits until the leader has ended; until nothing that it started is left, or
// what is left has been kept or given up; and until output has been copied. Then it
// fills ProcessState and the Report.
//
// The error is exactly that of exec.Cmd.Wait, of the same type, unless a field is set
// that has an error of its own: Timeout, IdleTimeout, Lifelines, FailOnLeftovers, or
// Limits.Memory when the run was out of memory. One more thing differs: with a
// WaitDelay of zero, what is left to be copied gets one second. So Wait may return
// ErrWaitDelay where exec.Cmd.Wait would wait. The error is the first of these:
//   - an *ExitError, as itself, if the command did not exit with status 0;
//   - if the context was done, the context's error, as itself, if Cancel returned
//     nil, or an error that wraps Cancel's if that is not os.ErrProcessDone;
//   - the first error of copying, or ErrWaitDelay;
//   - where exec.Cmd.Wait would return nil, what may be left behind: a
//     *SurvivorError, ErrKeeperLost.
//
// The Report has all of it, whatever the error is: the Ending and its Cause,
// Survivors, Unknown, KeeperLost.
//
// With one of these fields, the error may hold several: use errors.As and errors.Is.
// They are *ExitError; the context's error and cause if the context ended the run;
// context.DeadlineExceeded if Timeout did; *IdleError; *LifelineError;
// ErrOutOfMemory; *SurvivorError; ErrKeeperLost; *LeftoverError; or, if there is none
// of those, the error of copying. An error that comes alone still comes as itself. If
// the command itself cannot be made to end, where exec.Cmd.Wait would wait, the error
// also holds all.
//
// A command that ended before the context was done has not been cancelled, whenever
// Wait is called. exec.Cmd intends the same, but it kills a command that is a zombie
// by then, and says that it did.
//
// Only a nil error says that the output is complete. With KeepLeftovers, too,
// output that somebody still holds when WaitDelay has passed is an ErrWaitDelay.
func (c *Cmd) Wait() error {
	if c.Process == nil {
		return errors.New("exec: not started")
	}
	if c.run.waitClaimed.Swap(true) { // not ProcessState, which another Wait may just be setting
		return errors.New("exec: Wait was already called")
	}
	return c.run.wait()
}

// Output runs the command and returns its standard output. If Stderr was nil,
// Output fills the Stderr field of an *ExitError as exec.Cmd.Output does, unless
// there is a PTY, which has all the output.
func (c *Cmd) Output() ([]byte, error) {
	if c.Stdout != nil {
		return nil, errors.New("exec: Stdout already set")
	}
	if c.Stderr != nil || c.PTY != nil {
		return c.collect(func(w io.Writer) { c.Stdout = w })
	}
	var b bytes.Buffer
	const each = 32 << 10
	stderr := &headtail.Writer{To: &b, Limit: 2 * each}
	gate := &gate{to: stderr}
	if c.Stderr = stderr; c.Leftovers == HoldLeftovers {
		c.Stderr = gate
	}
	out, err := c.collect(func(w io.Writer) { c.Stdout = w })
	var exit *ExitError
	gate.shut()
	if errors.As(err, &exit) {
		stderr.Flush()
		exit.Stderr = b.Bytes()
	}
	return out, err
}

// CombinedOutput runs the command and returns its standard output and standard
// error together.
func (c *Cmd) CombinedOutput() ([]byte, error) {
	switch {
	case c.Stdout != nil:
		return nil, errors.New("exec: Stdout already set")
	case c.Stderr != nil:
		return nil, errors.New("exec: Stderr already set")
	}
	return c.collect(func(w io.Writer) { c.Stdout, c.Stderr = w, w })
}

// collect runs the command and returns what it writes to the writer that set gets.
func (c *Cmd) collect(set func(io.Writer)) ([]byte, error) {
	var b bytes.Buffer
	if c.Leftovers != HoldLeftovers {
		set(&b)
		err := c.Run()
		return b.Bytes(), err
	}
	gate := &gate{to: &b}
	set(gate)
	err := c.Run()
	gate.shut()
	return b.Bytes(), err
}

// StdinPipe returns a pipe connected to the command's standard input. Wait closes
// it, and so does a step of the stop plan with CloseStdin. Close it sooner if the
// command reads to end-of-file.
func (c *Cmd) StdinPipe() (io.WriteCloser, error) {
	if c.Stdin != nil {
		return nil, errors.New("exec: Stdin already set")
	}
	r, w, err := c.pipe("StdinPipe")
	if err != nil {
		return nil, err
	}
	c.Stdin = r
	c.stdio.add(r, w)
	c.stdio.input.pipe = w
	return w, nil
}

// StdoutPipe returns a pipe connected to the command's standard output. As with
// os/exec, read to end-of-file before calling Wait, which closes the pipe.
//
// End-of-file also comes when the command leaves something behind that holds the
// pipe, because leftovers are dealt with when the leader ends, not in Wait. If the
// holder is kept, or is not of the run, reading ends with os.ErrDeadlineExceeded as
// soon as WaitDelay has passed. On Windows it does not: reading goes on as long as
// somebody holds the pipe, or until Wait is called.
func (c *Cmd) StdoutPipe() (io.ReadCloser, error) {
	if c.Stdout != nil {
		return nil, errors.New("exec: Stdout already set")
	}
	r, w, err := c.pipe("StdoutPipe")
	if err != nil {
		return nil, err
	}
	c.Stdout = w
	c.stdio.hand(w, r)
	return r, nil
}

// StderrPipe is StdoutPipe for the command's standard error.
func (c *Cmd) StderrPipe() (io.ReadCloser, error) {
	if c.Stderr != nil {
		return nil, errors.New("exec: Stderr already set")
	}
	r, w, err := c.pipe("StderrPipe")
	if err != nil {
		return nil, err
	}
	c.Stderr = w
	c.stdio.hand(w, r)
	return r, nil
}

func (c *Cmd) pipe(method string) (r, w *os.File, err error) {
	if c.Process != nil {
		return nil, nil, errors.New("exec: " + method + " after process started")
	}
	return os.Pipe()
}

// Stop runs the stop plan against the whole run and returns when nothing is left. A
// run has one stop: a second call waits for the first, or for the stop that a
// timeout, a context or a leftover has begun.
//
// Stop returns nil if nothing is left, also if nothing was there any more. It
// returns a *SurvivorError if members cannot be killed. If ctx is done first, it
// returns the cause of ctx, and the stop goes on. Stop takes at most the waits of
// the stop plan and five seconds, and the five that Keep may take. Wait must still be
// called.
func (c *Cmd) Stop(ctx context.Context) error {
	if c.Process == nil {
		return errors.New("exec: not started")
	}
	return c.run.stopAndWait(ctx, c.run.plan)
}

// StopWith is Stop with a plan of its own, if no stop has begun. StopPlan remains
// the plan for what the command leaves behind, and for when the owner dies.
func (c *Cmd) StopWith(ctx context.Context, plan StopPlan) error {
	if c.Process == nil {
		return errors.New("exec: not started")
	}
	if err := plan.check(); err != nil {
		return err
	}
	return c.run.stopAndWait(ctx, plan)
}

// Signal sends sig to every member once. It sends os.Kill by the containment's
// kill, which reaches forks in flight too. It returns os.ErrProcessDone if nothing
// is left, and an error that is os.ErrPermission if no member may be signalled.
func (c *Cmd) Signal(sig os.Signal) error {
	if c.Process == nil {
		return errors.New("exec: not started")
	}
	return c.run.signal(sig)
}

// Kill kills the whole run at once, as Signal(os.Kill) does, and does not wait for
// that. It is not a stop: the Ending is Exited, and Wait returns how the command
// has ended.
func (c *Cmd) Kill() error { return c.Signal(os.Kill) }

// Members returns the live members, the leader included, ordered by PID. After Wait
// has returned there are none, but for those that a Scope holds.
func (c *Cmd) Members() ([]Process, error) {
	if c.Process == nil {
		return nil, errors.New("exec: not started")
	}
	return c.run.members()
}

// Report says what happened. It is nil until Wait has returned, or until the run
// has been let go (see Process). There is another one when a Scope does not hold
// anything of the run any more.
func (c *Cmd) Report() *Report {
	if c.run == nil {
		return nil
	}
	return c.run.report.Load()
}
