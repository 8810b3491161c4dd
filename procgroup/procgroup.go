// Package procgroup has the primitives for process groups: start a command in
// one, signal a whole group, stop it gracefully and learn how that went. It
// starts no goroutine and no process that outlives a call.
//
// # What it promises
//
// A group is stopped when no member is left alive, whatever its leader does.
// [GracefulKill] signals a group whose leader left first, and it does not
// return while a member lives on, unless it says so by an error that names it.
// A zombie is not alive, not even if its parent never reaps it; a process
// whose main thread has ended is, as long as another thread runs.
//
// Nothing is signalled but what was meant. A group is identified when a call
// begins, by the pidfd of its leader or by the start times of its members, and a
// later group with the same number is another group. Numbers that kill(2) takes
// for something else (0, 1, negative ones and those that become negative when
// cut to 32 bits), the calling process and its own group are refused with a
// [*RefusedError].
//
// A result is what was seen: [ForcefulKill] is returned after the death, each
// signal is sent once, and EPERM is an error, also if only some of the members
// may not be signalled. What is gone already is success, not an error.
//
// Waiting is driven by events (pidfds on Linux, kqueue on macOS and FreeBSD,
// process handles on Windows), so a call returns when the last member ends.
//
// Process groups hold only what wants to stay: a process that calls setsid(2)
// or setpgid(2) has left. [GracefulKillTree] finds those too that are still
// descendants of a member. For a guarantee, use package corral.
//
// # Systems
//
// All of it works on Linux, macOS, FreeBSD and Windows; the functions say where
// they differ. Windows has no process groups in the sense of Unix: there, a group
// is a process and its descendants, and Int and Term are both CTRL_BREAK, which
// reaches those of them that share a console with the caller. On other systems
// every function returns an error that wraps errors.ErrUnsupported.
package procgroup

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"syscall"
	"time"

	"github.com/corral-run/corral/internal/proctree"
	"github.com/corral-run/corral/internal/reach"
)

// Signal is a signal to stop by.
type Signal int

const (
	Kill Signal = iota // SIGKILL; TerminateProcess on Windows
	Int                // SIGINT; CTRL_BREAK on Windows
	Term               // SIGTERM; CTRL_BREAK on Windows
)

func (s Signal) String() string {
	switch s {
	case Kill:
		return "kill"
	case Int:
		return "int"
	case Term:
		return "term"
	}
	return fmt.Sprintf("Signal(%d)", int(s))
}

// Result says how a graceful stop went.
type Result int

const (
	// Error: members may be left; the error says which and why.
	Error Result = iota
	// GracefulExit: all ended within the grace period.
	GracefulExit
	// ForcefulKill: at least one had to be killed, and all have ended.
	ForcefulKill
	// AlreadyExited: there was no live member, and nothing was signalled.
	AlreadyExited
)

func (r Result) String() string {
	switch r {
	case Error:
		return "error"
	case GracefulExit:
		return "graceful exit"
	case ForcefulKill:
		return "forceful kill"
	case AlreadyExited:
		return "already exited"
	}
	return fmt.Sprintf("Result(%d)", int(r))
}

const (
	// DefaultGrace is the grace period of GracefulKillDefault.
	DefaultGrace = 500 * time.Millisecond
	// KillTimeout is how long the graceful stops wait for members to end after
	// these have been killed. It is mostly a matter of milliseconds. But on a
	// machine that is overloaded many times over, a process may need seconds to
	// die, and one in uninterruptible sleep may never do.
	KillTimeout = 5 * time.Second
)

// RefusedError says that a call was refused before anything was signalled,
// because of what its ID stands for: 0, 1, a number that is negative or too
// large, the calling process, or its own process group, even if that was found
// only through the PID of a member.
type RefusedError = reach.RefusedError

// ConflictError says that an attribute which the user of a command has set rules
// out what was asked for. The command is unchanged.
type ConflictError struct {
	Field string // of syscall.SysProcAttr
	Want  string // what was asked for
}

func (e *ConflictError) Error() string {
	return fmt.Sprintf("SysProcAttr.%s conflicts with %s", e.Field, e.Want)
}

// SetProcessGroup makes the calling process the leader of a new process group.
// It does nothing for a process that is the leader of its group.
//
// On Windows a process gets its group when it is started, and the error wraps
// errors.ErrUnsupported.
func SetProcessGroup() error { return wrap(setProcessGroup()) }

// DetachFromTTY detaches the calling process from its terminal by making it
// the leader of a new session, setsid(2). The leader of a process group may not
// do that (EPERM): it is put into a new process group instead, or left where it
// is if it leads its own, and keeps its terminal, but not as part of the shell's
// foreground job. To be sure, detach a command before it is started.
//
// On Windows it leaves the console, FreeConsole.
func DetachFromTTY() error { return wrap(detachFromTTY()) }

// SetParentDeathSignal has the calling process killed (SIGKILL) when its parent
// ends. The caller tells the PID it knows the parent by; if that is not the parent
// any more, the parent has ended before the call, and the process is killed at
// once: then the function does not return.
//
// On Linux, PR_SET_PDEATHSIG belongs to the thread that asked for it and is
// lost with it. It is set for all threads, or, in programs that use cgo, for the
// calling one alone: lock the goroutine to its thread there (in the main
// function's goroutine best, after runtime.LockOSThread in an init function). It
// is sent when the parent's thread that forked ends, not the whole parent:
// golang/go#27505. It is cleared by an exec of a set-user-ID program and by a
// change of user.
//
// On FreeBSD it is procctl(2), PROC_PDEATHSIG_CTL. There is nothing like it on
// macOS and Windows, where the function does nothing and returns nil.
func SetParentDeathSignal(parentPID int) error {
	if parentPID < 0 || int64(parentPID) > math.MaxInt32 {
		return wrap(&RefusedError{ID: parentPID, Reason: "it is no process ID"})
	}
	return wrap(setParentDeathSignal(parentPID))
}

// SetCmdProcessGroup has cmd start as the leader of a new process group. A new
// session, if that is what cmd asks for, is a new group too, and enough.
//
// The attributes that cmd has are kept. It is a *ConflictError if they put it
// into another group, and an error if cmd has been started.
//
// On Windows it is CREATE_NEW_PROCESS_GROUP, which also has the new process
// ignore Ctrl-C; that conflicts with CREATE_NEW_CONSOLE.
func SetCmdProcessGroup(cmd *exec.Cmd) error { return merge(cmd, setAttrProcessGroup) }

// DetachCmdFromTTY has cmd start as the leader of a new session, without a
// terminal. That makes it the leader of a new process group too.
//
// The attributes that cmd has are kept, except for Setpgid, which is contained
// in the new session and would fail after it. It is a *ConflictError if they ask
// for another group or for a terminal (Setctty, Foreground), and an error if cmd
// has been started.
//
// On Windows it is DETACHED_PROCESS, which conflicts with CREATE_NEW_CONSOLE.
// A process without a console cannot be sent CTRL_BREAK.
func DetachCmdFromTTY(cmd *exec.Cmd) error { return merge(cmd, setAttrDetached) }

// SetCmdParentDeathSignal has cmd killed (SIGKILL) when the calling program
// ends. The attributes that cmd has are kept; it is a *ConflictError if they ask
// for another signal, and an error if cmd has been started.
//
// On Linux the signal is sent when the thread ends that started cmd, and Go ends
// threads as it likes when a goroutine that is locked to one returns: call
// runtime.LockOSThread before cmd.Start and keep the goroutine until cmd has
// been waited for (golang/go#27505). Descendants do not inherit it, and an exec
// of a set-user-ID program clears it: use it as a backstop only.
//
// There is nothing like it on macOS and Windows, where the function changes
// nothing and returns nil.
func SetCmdParentDeathSignal(cmd *exec.Cmd) error { return merge(cmd, setAttrParentDeathSignal) }

// merge changes a copy of cmd's attributes: several commands may share them.
func merge(cmd *exec.Cmd, change func(*syscall.SysProcAttr) error) error {
	if cmd.Process != nil {
		return errors.New("procgroup: the command has been started")
	}
	var attr syscall.SysProcAttr
	if cmd.SysProcAttr != nil {
		attr = *cmd.SysProcAttr
	}
	if err := change(&attr); err != nil {
		return wrap(err)
	}
	cmd.SysProcAttr = &attr
	return nil
}

// KillGroup kills the process group pgid. It does not wait for the members to
// end; if there are none it returns nil.
//
// On Windows it terminates the process pgid and its descendants, and waits for
// none of them.
func KillGroup(pgid int) error { return SignalGroup(pgid, Kill) }

// SignalGroup sends a signal to every member of the process group pgid, once. It
// returns nil if there is none, and an error that wraps os.ErrPermission and
// names the members if some may not be signalled by the caller; the others have
// got the signal then. A stopped process acts on Int and Term when it is
// continued.
//
// On Windows, Int and Term are CTRL_BREAK. It takes a group made by
// SetCmdProcessGroup that shares the caller's console, and the error wraps
// errors.ErrUnsupported otherwise. If the process pgid has ended and been waited
// for, its descendants cannot be found, and the result is nil.
func SignalGroup(pgid int, sig Signal) error { return signalTarget(sig, openGroup, pgid) }

// KillGroupOf kills the process group that the process pid is a member of. If
// there is no such process, but a group of that number, that one is meant: its
// leader has left first. See KillGroup.
//
// On Windows it terminates the process pid and its descendants.
func KillGroupOf(pid int) error { return SignalGroupOf(pid, Kill) }

// SignalGroupOf is to KillGroupOf as SignalGroup is to KillGroup.
func SignalGroupOf(pid int, sig Signal) error { return signalTarget(sig, openGroupOf, pid) }

// KillCmd kills the process group of a command that has been started in a group
// of its own, by SetCmdProcessGroup, DetachCmdFromTTY or otherwise. It may be
// called before, during and after cmd.Wait. A command that is not the leader of
// its group is refused with a *RefusedError. See KillGroup.
func KillCmd(cmd *exec.Cmd) error { return SignalCmd(cmd, Kill) }

// SignalCmd is to KillCmd as SignalGroup is to KillGroup.
func SignalCmd(cmd *exec.Cmd, sig Signal) error {
	if cmd.Process == nil {
		return errors.New("procgroup: the command has not been started")
	}
	return signalTarget(sig, openGroupOfCmd, cmd)
}

// KillProcess kills the process pid alone, and does not wait for it to end. It
// returns nil if there is no such process, and an error that wraps
// os.ErrPermission if the caller may not kill it.
//
// On Windows it is TerminateProcess, with exit code 1.
func KillProcess(pid int) error {
	if err := checkProcess(pid); err != nil {
		return wrap(err)
	}
	id, err := proctree.Identify(pid)
	if err == nil {
		err = reach.SignalProcess(id, os.Kill)
	}
	if errors.Is(err, proctree.ErrGone) {
		return nil
	}
	return wrap(err)
}

// checkProcess refuses what the caller cannot mean to kill.
func checkProcess(pid int) error {
	if err := reach.CheckID(pid); err != nil {
		return err
	}
	if pid == os.Getpid() {
		return &RefusedError{ID: pid, Reason: "it is the calling process"}
	}
	return nil
}

// GracefulKill stops the process group that the process pid is a member of, or
// the group of that number if there is no such process. It sends the first
// signal to all members, continues those that are stopped so that they can act on
// it, waits up to grace for all of them to end, and then kills those that are
// left. Kill as the first signal means Term. With a grace of 0 or less nobody is
// waited for before the kill.
//
// The result is Error if members are alive KillTimeout after they were killed, or
// as soon as only members are left that the caller may not signal. The error names
// them and says why; in the second case it wraps os.ErrPermission. The result is
// Error too, with a *RefusedError and nothing signalled, for the calling process,
// its group, and numbers that are no PID.
//
// On Windows the first signal is CTRL_BREAK, and what is stopped is the process
// and its descendants. If it cannot be delivered, as the process does not lead a
// group made by SetCmdProcessGroup or does not share the caller's console, they
// are killed without a grace period. A process that has ended and been waited
// for is AlreadyExited, as its descendants cannot be found.
func GracefulKill(pid int, first Signal, grace time.Duration) (Result, error) {
	return GracefulKillContext(context.Background(), pid, first, grace)
}

// GracefulKillDefault is GracefulKill with Term and DefaultGrace.
func GracefulKillDefault(pid int) (Result, error) { return GracefulKill(pid, Term, DefaultGrace) }

// GracefulKillContext is GracefulKill with a grace period that also ends when ctx
// is done. Nothing is left behind then: what is alive is killed at once, and its
// death is awaited as ever. So the error is never that of the context: the result
// is that of a shorter grace period.
func GracefulKillContext(ctx context.Context, pid int, first Signal, grace time.Duration) (Result, error) {
	return stopTarget(ctx, first, grace, openGroupOf, pid)
}

// GracefulKillTree is GracefulKillContext for the group and all descendants of its
// members, whatever group or session they have gone to. They are looked for in the
// process table until a look finds no other, before the first signal and, with all
// of them stopped, before the kill. A descendant that has left the group, and whose
// parent had ended before the call, cannot be found.
//
// A tree that the calling process is part of is refused.
//
// On Windows it is GracefulKillContext.
func GracefulKillTree(ctx context.Context, pid int, first Signal, grace time.Duration) (Result, error) {
	return stopTarget(ctx, first, grace, openTree, pid)
}

// wrap puts the package's name before err.
func wrap(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("procgroup: %w", err)
}
