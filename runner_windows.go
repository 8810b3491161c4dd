package corral

import (
	"os"
	"os/signal"
	"strings"
	"syscall"

	"golang.org/x/sys/windows"

	"github.com/corral-run/corral/internal/helper"
	"github.com/corral-run/corral/internal/wire"
)

// This file is another program: the runner, which Contain puts in a command's place.
// It is an owner like any other, with one run, and uses this package as others do.
// It has the only handle of the run's job, so whoever ends it ends the run.

func init() { helper.RunnerRole(wire.RunnerRole, beRunner) }

// runner is the process's state.
type runner struct {
	spec    *wire.RunnerSpec
	cmd     *Cmd
	signals chan os.Signal
}

// beRunner runs the command and ends as it has ended. The arguments are a spec, a
// path, and the command's arguments.
func beRunner(_ int, args []string) {
	spec, err := wire.ParseRunnerSpec(args[0])
	if err != nil {
		runnerFails(err)
	}
	r := &runner{spec: spec, signals: make(chan os.Signal, 16)}
	r.cmd = &Cmd{
		Path: args[1], Args: args[2:], Env: giveBack(os.Environ(), spec),
		Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr,
		SysProcAttr: &syscall.SysProcAttr{CmdLine: spec.CommandLine, HideWindow: spec.HideWindow, CreationFlags: spec.Flags},
		Containment: Containment(spec.Containment), Require: Containment(spec.Require),
		Lifelines: []Lifeline{LifelineParent}, StopPlan: planOf(spec.Plan),
	}
	for _, h := range spec.Handles {
		r.cmd.SysProcAttr.AdditionalInheritedHandles = append(r.cmd.SysProcAttr.AdditionalInheritedHandles, syscall.Handle(h))
	}
	r.ownEnvironment()
	// SIGTERM is what Go makes of the console's and the session's end. Who has it notified
	// gets some seconds. The command hears of it as well, and may want them.
	signal.Notify(r.signals, os.Interrupt, syscall.SIGTERM)
	if err := r.cmd.Start(); err != nil {
		runnerFails(err)
	}
	r.stepAside()
	go r.passOn()
	r.end(r.cmd.Wait())
}

// ownEnvironment gives this process what is meant for it of the environment. The rest
// may stay: Windows wants some of it, and the command has its own copy.
func (r *runner) ownEnvironment() {
	os.Unsetenv(autoVariable)
	for _, entry := range r.spec.Environ {
		name, value, _ := strings.Cut(entry, "=")
		os.Setenv(name, value)
	}
}

// stepAside gives up all that the command has got, so that who reads from the command
// sees its end.
func (r *runner) stepAside() {
	for _, f := range []*os.File{os.Stdin, os.Stdout, os.Stderr} {
		f.Close()
	}
	for _, number := range []uint32{windows.STD_INPUT_HANDLE, windows.STD_OUTPUT_HANDLE, windows.STD_ERROR_HANDLE} {
		windows.SetStdHandle(number, 0)
	}
	for _, h := range r.spec.Handles {
		if h != 0 {
			windows.CloseHandle(windows.Handle(h))
		}
	}
}

// passOn passes Ctrl-C and Ctrl-Break on, which Go does not tell apart, until the process
// ends. The command leads a console group of its own, which they do not reach otherwise.
func (r *runner) passOn() {
	for sig := range r.signals {
		if sig == os.Interrupt {
			r.cmd.Signal(sig)
		}
	}
}

// end ends this process as the command has ended.
func (r *runner) end(err error) {
	state := r.cmd.ProcessState
	if state == nil || err != nil && state.Success() {
		syscall.Exit(runnerFailed)
	}
	windows.ExitProcess(uint32(state.ExitCode()))
}
