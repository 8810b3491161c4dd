package corral

import (
	"errors"
	"fmt"
	"os/exec"
)

// ContainOptions say how Contain holds a command. The zero value is right for most.
type ContainOptions struct {
	// StopPlan is how the processes are stopped that the command leaves behind when
	// it ends, and how the whole run is when the calling program ends. Nil means
	// DefaultStopPlan(). What the caller signals or kills is not subject to it. A
	// step with CloseStdin is an error: that input is the caller's.
	StopPlan StopPlan

	// Containment and Require are those of Cmd. They are looked at when the command
	// starts: see Contain.
	Containment Containment
	Require     Containment
}

// Contain is for functions of other packages that want an *exec.Cmd, start it and
// kill it themselves. Call it first, and nothing of the command is left:
//
//	cmd := exec.Command("npx", "server")
//	err := corral.Contain(cmd, corral.ContainOptions{})
//
// It rewrites cmd, which must not have been started. A small program is then started
// in the command's place: the runner. It starts the command inside a containment, and
// ends as the command has ended. The runner is the running program once more, in a
// role that it takes before main, or HelperPath.
//
// For the caller, the runner is the command. It has the command's standard streams
// and other descriptors, environment and directory; Wait returns how the command has
// ended, also if a signal has ended it. But what is done to the process is done to
// all that the command has started:
//
//   - Process.Kill, so also the end of a context, kills them all at once. Wait may
//     return a moment before the last of them is gone, unless it waits for their
//     output.
//   - Process.Signal, with any other signal, passes it on to the command: as under
//     os/exec, to that process alone. If SysProcAttr makes the command the leader of
//     a process group, its group gets it, and so it does if the caller signals the
//     group -Process.Pid.
//   - When the command ends, what it has left is stopped by the StopPlan. Wait
//     returns after that.
//   - When the program that has called Contain ends, however that happens, the run is
//     stopped by the StopPlan.
//
// If Contain returns nil, the command is contained or does not run at all. An error
// that can be foreseen comes from Contain, in the words of exec.Cmd.Start: a Path
// that is not there, attributes that do not work here. It leaves cmd as it was. Other
// errors, such as Require or a file that is not a program, come after Start has
// returned nil. The runner says on the command's standard error what is wrong, and
// ends with status 125, or 126 if the command could not be executed, 127 if it was
// not there any more. It also ends with 125 instead of 0 if it could not stop all
// that was left.
//
// Later changes of cmd count, but for three: Path must stay as it is, Args may only
// grow, and in SysProcAttr, what a process has for itself (Chroot, Credential,
// namespaces, capabilities; on Windows, all but the flags that are about consoles) must
// be set before. Dir must be set before if there is a Chroot.
//
// What differs from a command without Contain:
//
//   - Path, Args and String are the runner's, with the command's behind. A caller that
//     logs them or takes a checksum of the file at Path finds those.
//   - Process.Pid is the runner's. The command has another one, and another parent.
//   - A member that kills the runner, which is its parent under cgroup, ends the run.
//   - SIGKILL and SIGSTOP cannot be passed on: the latter stops the runner alone. Nor
//     can SIGCHLD, SIGURG and SIGPROF, of which Go's runtime makes use, nor 32 and 33,
//     which end the runner and so the run, as 34 does except on Linux (amd64, arm64).
//     In the first milliseconds, while the runner starts, a signal does what it does
//     to a Go program by default.
//   - On Linux, the command gets a SIGCONT when the thread has ended that has called
//     Start, unless there is a Pdeathsig. Go ends a thread only if a goroutine locked to
//     it (runtime.LockOSThread) returns.
//   - SysProcAttr.Ptrace is an error. Whether a core was dumped is not said, and the
//     times of ProcessState are the command's and the runner's.
//   - There is no Report. A program that wants one uses Wrap.
//
// On Windows the runner has the only handle of the run's job. So all is killed at once
// when the runner is killed, or ends in any other way. Ctrl-C and Ctrl-Break, the
// only signals there besides Kill, reach the command as CTRL_BREAK. Token, ParentProcess and
// NoInheritHandles in SysProcAttr, and DEBUG_PROCESS in CreationFlags, are errors.
//
// Where there is no containment but a process group, Contain returns an
// errors.ErrUnsupported.
func Contain(cmd *exec.Cmd, opts ContainOptions) error {
	switch {
	case errNoRunner != nil:
		return errNoRunner
	case cmd.Process != nil:
		return errors.New("corral: Contain: the command has been started")
	case cmd.Err != nil:
		return cmd.Err
	case cmd.Path == "":
		return errors.New("exec: no command")
	}
	if err := opts.StopPlan.check(); err != nil {
		return err
	}
	if opts.StopPlan.closesStdin() {
		return errors.New("corral: Contain: standard input is the caller's to close: leave CloseStdin out of the StopPlan")
	}
	from, err := strength(opts.Containment)
	if err != nil {
		return err
	}
	to, err := strength(opts.Require)
	if err != nil {
		return err
	}
	if opts.Containment != Auto && opts.Require != Auto && to < from {
		return fmt.Errorf("corral: containment %s is wanted, but %s is required, which is stronger", opts.Containment, opts.Require)
	}
	if _, _, err := autoFrom(); err != nil {
		return err
	}
	return contain(cmd, opts)
}

// planForOwnersDeath is how the run is stopped when this process dies.
func (c *Cmd) planForOwnersDeath(plan StopPlan) StopPlan {
	if c.killAtOwnersDeath {
		return StopPlan{}
	}
	return plan
}
