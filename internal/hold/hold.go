// Package hold says what one run needs from the kernel: a containment. Each package
// below it has one kind. All of it runs in the owner.
package hold

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"os/exec"
	"syscall"
	"time"

	"github.com/corral-run/corral/internal/proctree"
	"github.com/corral-run/corral/internal/stop"
)

// Containment is what one run needs from the kernel. Its methods may be called at
// the same time, but Prepare and Start come first, and Reap and Close last.
type Containment interface {
	// Prepare changes what is about to be started: attributes, files, environment.
	Prepare(*exec.Cmd) error

	// Start starts the command inside the containment and returns its leader, which
	// is not the started process when a helper sits in between. The error is
	// os/exec's if the command cannot be executed; nothing is running then.
	Start(*exec.Cmd) (leader *os.Process, id proctree.ID, err error)

	// Exited returns when the leader has ended, without reaping it, or with
	// ctx's error. pinned says that the leader must not be reaped before the run
	// is empty, because its PID is what pins the containment.
	Exited(ctx context.Context) (pinned bool, err error)

	stop.Members

	// Tend is AwaitEmpty for a run that goes on without its leader, as Request.Hold
	// asks for. Meanwhile it sees to it that whoever has to stop the run when the
	// owner is gone is there.
	Tend(ctx context.Context) error

	// Ended returns how a pinned leader has ended, as Reap does, and leaves the rest
	// of the run where it is. Reap follows. It is only for runs that are held.
	Ended() (*os.ProcessState, error)

	// Peek returns how a leader that has ended has done so, without reaping it, or nil
	// if that is not known yet.
	Peek() *os.ProcessState

	// Reap reaps the leader and returns how it ended, with the error that
	// exec.Cmd.Wait has for it.
	Reap() (*os.ProcessState, error)

	// LetGo leaves all members alone from now on, as Request.Detach does from the
	// start. Close follows.
	LetGo() error

	// Close releases what the containment holds. It stops nothing.
	Close() error

	// Facts returns what else is known by now.
	Facts() Facts

	Sparing
}

// Facts are what a containment knows of a run beside its members.
type Facts struct {
	// Used is what the whole run has used. It is known once the containment is
	// closed, and not to every containment.
	Used Usage
	// HelperPID is the keeper's or the guard's, or 0 if there is none. A helper
	// that adopts gets the orphans, unless it is lost.
	HelperPID int
	Adopts    bool
	Lost      bool
	// Unguarded says why there has been no guard for some time.
	Unguarded string
	// BestEffort says how a member may get away unseen on this system.
	BestEffort string
	// Path is the directory that the run's control group has. When the run is
	// closed, the directory is gone, or kept for another run.
	Path string
	// Run is what all members together have used, as far as that is known. It is
	// there if Request.Account is set, or Limits are.
	Run Amounts
	// OutOfMemory says that the kernel has killed a member for want of memory. It is
	// known where Run is.
	OutOfMemory bool
	// OverLimit says that it was Limits.Memory that was used up.
	OverLimit bool
	// OwnersDeath is what the death of the owner does to a run that has not been let
	// go.
	OwnersDeath OwnersDeath
}

// Amounts are what processes have used. Nil is not known.
type Amounts struct {
	User, System  *time.Duration
	PeakMemory    *int64 // in bytes
	PeakPIDs      *int64
	Read, Written *int64 // in bytes
}

// Limits are those of all members together. Zero is no limit.
type Limits struct {
	Memory int64 // in bytes
	PIDs   int
	CPUs   float64
}

// Limiter is a containment that can have Limits. Open refuses those that it cannot
// have. Others are not asked.
type Limiter interface {
	// Limit puts the Request's limits into force. It is called once: before Start, or
	// after it, before the leader does anything of its own.
	Limit() error
}

// OwnersDeath says what the death of the owner does to a run.
type OwnersDeath string

const (
	DeathStops       OwnersDeath = "stop"    // all members are stopped by the plan
	DeathKills       OwnersDeath = "kill"    // all members are killed at once
	DeathKillsLeader OwnersDeath = "leader"  // the leader alone is killed
	DeathIsNothing   OwnersDeath = "nothing" // the run goes on
)

// Usage is what a run has used.
type Usage struct {
	User, System time.Duration
	PeakMemory   int64 // the most memory that one process has had, in bytes
}

// Request is what a containment may have to know before a run starts.
type Request struct {
	Attr             *syscall.SysProcAttr // the caller's, or nil
	Plan             stop.Plan            // for whoever has to stop the run when the owner is gone
	KeepLeftovers    bool                 // what is alive when the leader has ended is left alone
	Detach           bool                 // the run also goes on without its owner, from the start
	WaitForLeftovers bool                 // leftovers are waited for: the leader must not stay a zombie for that long
	Spares           bool                 // single processes are let go of: see Sparing
	Hold             bool                 // leftovers are held after that, until Close or the owner's death; WaitForLeftovers is set too
	Log              *slog.Logger

	HelperPath string // the program that helpers are started from; empty for this one

	Limits  Limits
	Account bool // count what the run uses, as far as that is possible
}

// InTurn sends one signal after the other and stops at the first error.
func InTurn(sigs []os.Signal, send func(os.Signal) error) error {
	for _, sig := range sigs {
		if err := send(sig); err != nil {
			return err
		}
	}
	return nil
}

// ErrKeeperLost says that somebody has killed the keeper of a run.
var ErrKeeperLost = errors.New("corral: the keeper was killed; processes that it had adopted may be left")
