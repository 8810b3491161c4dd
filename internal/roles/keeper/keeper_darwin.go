package keeper

import (
	"errors"
	"os"
	"syscall"

	"github.com/corral-run/corral/internal/proctree"
	"github.com/corral-run/corral/internal/reach"
	"github.com/corral-run/corral/internal/track"
	"github.com/corral-run/corral/internal/wire"
	"github.com/corral-run/corral/internal/wire/code"
	"golang.org/x/sys/unix"
)

// On macOS orphans go to launchd, and the keeper has to follow what the leader
// starts: package track says how, and who gets away.

type keeper struct {
	keeperState
	events
	table   *track.System
	tracker *track.Tracker
	home    int         // the session that the leader is started in
	early   *wire.Event // how the leader ended, if it did before it could be followed
}

func (k *keeper) becomeReaper(*wire.Spec) (err error) {
	if k.home, err = unix.Getsid(0); err != nil {
		return os.NewSyscallError("getsid", err)
	}
	k.table, err = track.Open()
	return err
}

func (k *keeper) follow() error {
	k.news = k.table.News()
	k.tracker = track.New(k.table, k.leader, k.home, os.Getpid())
	err := k.table.FollowChild(k.leader)
	gone := errors.Is(err, proctree.ErrGone)
	if err != nil && !gone {
		return err
	}
	if _, err := k.members(); err != nil {
		return err
	}
	if gone {
		// Only reaping it tells how it has ended.
		k.early, err = reapLeader(k.leader.PID)
		return err
	}
	return nil
}

func (k *keeper) members() ([]proctree.Process, error) { return k.tracker.Look() }

func (k *keeper) observe() {
	if status, ok := k.table.Ended(); ok {
		k.ended = &wire.Event{Kind: code.Ended, Status: syscall.WaitStatus(status)}
	} else if k.early != nil {
		k.ended = k.early
	}
	k.count()
}

// count returns how many members there are, as far as the keeper knows.
func (k *keeper) count() int {
	rows, err := k.members()
	k.blind = err != nil || k.tracker.Missed()
	if err != nil {
		return 1
	}
	return len(rows)
}

// sweep reaps, kills if k.killing, and returns 0 if no member is left besides an
// ended leader, else more.
func (k *keeper) sweep() int {
	if k.killing {
		send := func(sig syscall.Signal) func(proctree.ID) {
			return func(id proctree.ID) { reach.SignalProcess(id, sig) } // if it is gone or not ours to kill, so be it
		}
		k.tracker.Kill(send(syscall.SIGSTOP), send(syscall.SIGKILL))
	}
	return k.count()
}

func (k *keeper) reapLeader() {
	if k.leader.PID == 0 || k.early != nil {
		return
	}
	if e, err := reapLeader(k.leader.PID); err == nil {
		k.tell(&wire.Event{Kind: code.LeaderUsage, Rusage: e.Rusage})
	}
	k.leader.PID = 0
}

// reapLeader waits until the leader, which has ended, can be reaped, and returns
// how it has ended.
func reapLeader(pid int) (*wire.Event, error) {
	e := &wire.Event{Kind: code.Ended}
	for {
		_, err := syscall.Wait4(pid, &e.Status, 0, &e.Rusage)
		if err != syscall.EINTR {
			return e, os.NewSyscallError("wait4", err)
		}
	}
}
