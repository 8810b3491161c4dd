//go:build unix

package group

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"sync/atomic"
	"syscall"

	"github.com/corral-run/corral/internal/child"
	"github.com/corral-run/corral/internal/hold"
	"github.com/corral-run/corral/internal/osproc"
	"github.com/corral-run/corral/internal/pgroup"
	"github.com/corral-run/corral/internal/proctree"
	"github.com/corral-run/corral/internal/reach"
	"github.com/corral-run/corral/procgroup"
	"golang.org/x/sys/unix"
)

// Open returns a containment for one run.
func Open(req hold.Request) (hold.Containment, error) {
	if req.Spares {
		return nil, errors.New("no process can be kept or detached: what leaves the group is not a member any more, and what stays is stopped with it")
	}
	if err := proctree.Usable(); err != nil {
		return nil, fmt.Errorf("the members of a group cannot be seen: %w", err)
	}
	if req.Hold {
		return nil, errors.New("leftovers cannot be held: a process group outlives its owner, and a member can leave it")
	}
	return &containment{detach: req.Detach}, nil
}

// containment is the process group that the leader leads. A process that leaves the
// group is not a member any more; only the leader itself is followed.
type containment struct {
	hold.Child
	hold.SparesNobody
	detach bool // the leader outlives the owner
	leader *os.Process
	id     proctree.ID
	group  *pgroup.Group
	ended  atomic.Bool // the leader has
}

func (g *containment) Prepare(cmd *exec.Cmd) error {
	if err := procgroup.SetCmdProcessGroup(cmd); err != nil {
		return err
	}
	if g.detach {
		return nil
	}
	var conflict *procgroup.ConflictError
	if err := procgroup.SetCmdParentDeathSignal(cmd); !errors.As(err, &conflict) {
		return err
	}
	return nil // the caller wants another signal, and gets it
}

func (g *containment) Start(cmd *exec.Cmd) (*os.Process, proctree.ID, error) {
	moment := proctree.Now()
	if err := g.Child.Start(cmd); err != nil {
		return nil, g.id, err
	}
	g.leader = cmd.Process
	var err error
	if g.group, err = pgroup.Open(g.leader.Pid); err == nil {
		g.id, err = moment.Born(g.leader.Pid)
	}
	if err != nil {
		g.Abandon()
		return nil, g.id, fmt.Errorf("corral: group containment: %w", err)
	}
	return g.leader, g.id, nil
}

func (g *containment) Exited(ctx context.Context) (pinned bool, err error) {
	err = child.AwaitExit(ctx, g.leader, g.id.PID)
	if err == nil {
		g.ended.Store(true)
	}
	return g.group.NeedsLeader(), err
}

func (g *containment) Signal(sigs ...os.Signal) error { return hold.InTurn(sigs, g.signalOne) }

func (g *containment) signalOne(sig os.Signal) error {
	number, ok := sig.(syscall.Signal)
	if !ok {
		return errors.ErrUnsupported
	}
	err := g.group.Signal(number)
	if errors.Is(err, proctree.ErrGone) {
		err = os.ErrProcessDone
	}
	if stray, _ := g.strayLeader(); stray != nil {
		serr := g.signalLeader(sig)
		if errors.Is(err, os.ErrProcessDone) {
			err = serr
		}
	}
	return err
}

// signalLeader signals the leader, also if the caller has released its Process.
func (g *containment) signalLeader(sig os.Signal) error {
	err := g.leader.Signal(sig)
	if err != nil && osproc.Released(g.leader) {
		err = reach.SignalProcess(g.id, sig)
	}
	if errors.Is(err, proctree.ErrGone) {
		err = os.ErrProcessDone
	}
	return err
}

func (g *containment) Kill() error {
	err := g.group.Kill()
	if stray, _ := g.strayLeader(); stray != nil {
		if serr := g.signalLeader(os.Kill); !errors.Is(serr, os.ErrProcessDone) {
			err = errors.Join(err, serr)
		}
	}
	return err
}

func (g *containment) Members() ([]proctree.Process, error) {
	rows, err := g.group.Members()
	if err != nil {
		return nil, err
	}
	stray, err := g.strayLeader()
	if err != nil {
		return nil, err
	}
	if stray != nil {
		rows = append(rows, *stray)
	}
	return rows, nil
}

func (g *containment) AwaitEmpty(ctx context.Context) error {
	if err := g.group.Wait(ctx); err != nil {
		return err
	}
	if stray, err := g.strayLeader(); err != nil || stray == nil {
		return err
	}
	return child.AwaitExit(ctx, g.leader, g.id.PID)
}

// Tend is AwaitEmpty. No group is held.
func (g *containment) Tend(ctx context.Context) error { return g.AwaitEmpty(ctx) }

func (g *containment) Facts() hold.Facts { return hold.Facts{OwnersDeath: hold.DeathOfParent} }

func (g *containment) Close() error {
	g.DropHandle()
	if g.group == nil {
		return nil
	}
	return g.group.Close()
}

// strayLeader returns the leader if it lives in another group. It may move to
// one of its session (setpgid(2)), but not to a session of its own, being the
// leader of a group.
func (g *containment) strayLeader() (*proctree.Process, error) {
	if g.ended.Load() {
		return nil, nil
	}
	pgid, err := unix.Getpgid(g.id.PID)
	if err != nil || pgid == g.id.PID {
		return nil, nil // reaped, or where it belongs
	}
	row, err := proctree.Brief(g.id.PID)
	switch {
	case errors.Is(err, proctree.ErrGone):
		return nil, nil
	case err != nil:
		return nil, err
	case row.ID != g.id || !row.Alive():
		return nil, nil
	}
	return &row, nil
}
