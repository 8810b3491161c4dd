package corral

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"os/exec"
	"syscall"
	"time"

	"github.com/corral-run/corral/internal/proctree"
)

// containment is what one run needs from the kernel. Its methods may be called
// at the same time, but prepare and start come first, and reap and close last.
type containment interface {
	// prepare changes what is about to be started: attributes, files,
	// environment.
	prepare(*exec.Cmd) error

	// start starts the command inside the containment and returns its leader, which
	// is not the started process when a helper sits in between. The error is os/exec's
	// if the command cannot be executed; nothing is running then.
	start(*exec.Cmd) (leader *os.Process, id proctree.ID, err error)

	// exited returns when the leader has ended, without reaping it, or with
	// ctx's error. held says that the leader must not be reaped before the run
	// is empty, because its PID is what pins the containment.
	exited(ctx context.Context) (held bool, err error)

	members

	// reap reaps the leader and returns how it ended, with the error that
	// exec.Cmd.Wait has for it.
	reap() (*os.ProcessState, error)

	// letGo sees to it that all members are left alone from now on, also when the owner
	// ends. Then close follows.
	letGo() error

	// close releases what the containment holds. It stops nothing.
	close() error

	// facts returns what else there is to be known, as far as it is known by now.
	facts() facts
}

// facts are what a containment knows of a run beside its members.
type facts struct {
	// used is what the whole run has used, where the containment knows, once it is
	// closed.
	used consumption
	// helperPID is the keeper's or the guard's, 0 if there is none. Orphans go to a
	// helper that adopts, unless it is lost.
	helperPID int
	adopts    bool
	lost      bool
	// unguarded says why there was no guard for some time.
	unguarded string
	// bestEffort says how a member may have got away unseen on this system.
	bestEffort string
	// path is the directory of the run's control group.
	path string
}

// consumption is what a run has used.
type consumption struct {
	user, system time.Duration
	peak         int64 // the most memory that one process has had, in bytes
}

// request is what a containment may have to know of a run before it starts.
type request struct {
	attr   *syscall.SysProcAttr // the caller's, or nil
	plan   plan                 // for whoever has to stop the run when the owner is gone
	keep   bool                 // leftovers are to be kept,
	detach bool                 // and the run is to go on when the owner is gone
	wait   bool                 // leftovers are waited for, and the leader must not stay a zombie for that long
	log    *slog.Logger

	helperPath string // the program that helpers are started from; empty for this one
}

// inTurn sends one signal after the other, until one cannot be sent.
func inTurn(sigs []os.Signal, send func(os.Signal) error) error {
	for _, sig := range sigs {
		if err := send(sig); err != nil {
			return err
		}
	}
	return nil
}

// errKeeperLost is what is left to say of a run whose keeper somebody has killed.
var errKeeperLost = errors.New("corral: the keeper was killed; processes that it had adopted may be left")
