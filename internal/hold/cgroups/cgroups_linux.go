package cgroups

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/corral-run/corral/internal/cgroup"
	"github.com/corral-run/corral/internal/child"
	"github.com/corral-run/corral/internal/hold"
	"github.com/corral-run/corral/internal/osproc"
	"github.com/corral-run/corral/internal/proctree"
	"github.com/corral-run/corral/internal/reach"
	"github.com/corral-run/corral/internal/wire"
	"golang.org/x/sys/unix"
)

// cgroupMembers are the members of a run that has a control group.
type cgroupMembers struct{ dir *cgroup.Dir }

func (m cgroupMembers) Signal(sigs ...os.Signal) error { return m.dir.Signal(sigs...) }

// Kill also reaches those that the kernel passes over: nobody may be waiting for them
// to go away.
func (m cgroupMembers) Kill() error { return m.dir.KillRest() }

func (m cgroupMembers) Members() ([]proctree.Process, error) {
	return m.except(func(proctree.Process) bool { return false })
}

// except returns the members without those for which ended is true.
func (m cgroupMembers) except(ended func(proctree.Process) bool) ([]proctree.Process, error) {
	return reach.Look(func() ([]proctree.Process, bool, error) {
		if populated, err := m.dir.Populated(); err != nil || !populated {
			return nil, true, err
		}
		rows, err := m.dir.Members()
		return slices.DeleteFunc(rows, ended), false, err
	})
}

func (m cgroupMembers) AwaitEmpty(ctx context.Context) error { return m.dir.AwaitEmpty(ctx) }

// containment is a control group of version 2. The leader is born in it. A member
// leaves it only by writing to the files of another one, which takes the owner's
// privileges at least.
type containment struct {
	hold.Child
	cgroupMembers
	owner  *ownerDir
	plan   string
	log    *slog.Logger
	reused bool
	leader *os.Process
	id     proctree.ID
	ended  atomic.Bool // the leader has
	empty  atomic.Bool // the last look after that has found nobody

	spared spared

	limits  hold.Limits
	counted bool // the run's directory is its own, and is read for Facts
	tally   tally

	stopped   atomic.Bool // a signal has been sent
	reusable  bool
	reaped    bool
	unguarded atomic.Pointer[string] // why there was none for some time
}

// Open returns a containment with a directory ready for the leader.
func Open(req hold.Request) (hold.Containment, error) {
	if req.Attr != nil && req.Attr.UseCgroupFD {
		return nil, errors.New("SysProcAttr.UseCgroupFD asks for another control group")
	}
	plan, err := wire.EncodePlan(req.Plan, req.Detach)
	if err != nil {
		return nil, err
	}
	c := &containment{owner: &thisOwner, plan: plan, log: req.Log, limits: req.Limits}
	if req.Limits != (hold.Limits{}) || req.Account {
		c.counted = true
		err = c.openCounted(req)
	} else {
		c.dir, c.reused, err = c.owner.take(req.HelperPath, c.plan, false)
	}
	if err != nil {
		return nil, err
	}
	return c, nil
}

func (c *containment) Prepare(cmd *exec.Cmd) error {
	attr := osproc.OwnAttr(cmd)
	attr.UseCgroupFD, attr.CgroupFD = true, c.dir.FD()
	return nil
}

func (c *containment) Start(cmd *exec.Cmd) (*os.Process, proctree.ID, error) {
	allBirths.begin()
	leader, id, err := c.start(cmd)
	allBirths.end(id, err == nil)
	return leader, id, err
}

func (c *containment) start(cmd *exec.Cmd) (*os.Process, proctree.ID, error) {
	moment := proctree.Now()
	err := c.birth(cmd)
	if c.reused && isUnfit(err) {
		// Somebody has left the directory in a state that does not show. Exec does
		// not return these errors.
		var fresh *cgroup.Dir
		if fresh, err = c.owner.create(c.plan); err == nil {
			discard(c.dir)
			c.dir = fresh
			again := unstarted(cmd)
			if err = c.Prepare(again); err == nil {
				err = c.birth(again)
			}
		}
	}
	if err != nil {
		return nil, c.id, err
	}
	c.leader = c.Process()
	if c.id, err = moment.Born(c.leader.Pid); err != nil {
		c.Abandon()
		return nil, c.id, fmt.Errorf("corral: cgroup containment: %w", err)
	}
	return c.leader, c.id, nil
}

// unstarted is the command as it was before an attempt to start it.
func unstarted(cmd *exec.Cmd) *exec.Cmd {
	return &exec.Cmd{
		Path: cmd.Path, Args: cmd.Args, Env: cmd.Env, Dir: cmd.Dir,
		Stdin: cmd.Stdin, Stdout: cmd.Stdout, Stderr: cmd.Stderr,
		ExtraFiles: cmd.ExtraFiles, SysProcAttr: cmd.SysProcAttr, Err: cmd.Err,
	}
}

var errStillborn = errors.New("corral: cgroup containment: the kernel killed the command at its birth, as it does in a control group that somebody has killed")

// isUnfit reports whether err says that no process can be started in a directory.
func isUnfit(err error) bool {
	return errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EBUSY) || errors.Is(err, unix.ENODEV) || err == errStillborn
}

// birth starts the leader, and takes the start back if the leader is stillborn.
func (c *containment) birth(cmd *exec.Cmd) error {
	err := c.Child.Start(cmd)
	if err == nil && stillborn(c.Process().Pid) {
		c.Abandon()
		err = errStillborn
	}
	return err
}

// stillborn reports whether a child was killed before it executed its program. To
// os/exec, that looks like a start.
//
// The one cheap question is setpgid(2), which fails with EACCES for a child that
// has executed a program, whatever the group. It asks for a group that no process
// can have: a child that is about to execute its program must not be moved. Such
// children exist. Some kernels, such as Debian's 6.1.0-56, close the descriptor
// that tells os/exec of a start before the rest of execve(2) is done.
func stillborn(pid int) bool {
	const noGroup = math.MaxInt32 // the kernel's limit of PIDs is 1<<22
	return unix.Setpgid(pid, noGroup) != unix.EACCES && neverExecuted(pid)
}

// neverExecuted asks /proc: setpgid has other reasons to fail, such as that the
// child has made a session.
func neverExecuted(pid int) bool {
	var b [512]byte
	if _, err := unix.Readlink("/proc/"+strconv.Itoa(pid)+"/exe", b[:1]); err != unix.ENOENT {
		return false
	}
	// It has ended. Its flags say whether it ever executed anything.
	fd, err := unix.Open("/proc/"+strconv.Itoa(pid)+"/stat", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	n, err := unix.Read(fd, b[:])
	if err != nil {
		return false
	}
	const flagsAt, forkedNoExec = 6, 0x40 // after the name in parentheses; PF_FORKNOEXEC in the kernel's sched.h
	fields := bytes.Fields(b[bytes.LastIndexByte(b[:n], ')')+1 : n])
	if len(fields) <= flagsAt {
		return false
	}
	flags, err := strconv.ParseUint(string(fields[flagsAt]), 10, 64)
	return err == nil && flags&forkedNoExec != 0
}

func (c *containment) Exited(ctx context.Context) (pinned bool, err error) {
	for {
		line, again := c.owner.guardLine()
		other, err := child.AwaitExitOrHangUp(ctx, c.leader, c.id.PID, line, again)
		if other {
			c.guardLost(c.owner.replace(line))
			continue
		}
		if err == nil {
			c.ended.Store(true)
		}
		return false, err
	}
}

// guardLost says what the loss of the guard means, unless it has been replaced at
// once.
func (c *containment) guardLost(err error) {
	if err == nil || c.unguarded.Load() != nil {
		return
	}
	why := err.Error()
	c.unguarded.Store(&why)
	c.log.Warn("corral: there is no guard: the run would outlive this program; Corral will try again", "error", err)
}

// Tend replaces a guard that somebody has killed, as Exited does while the leader
// lives.
func (c *containment) Tend(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	var watching sync.WaitGroup
	watching.Go(func() {
		for {
			line, again := c.owner.guardLine()
			if child.AwaitHangUp(ctx, line, again); ctx.Err() != nil {
				return
			}
			c.guardLost(c.owner.replace(line))
		}
	})
	err := c.AwaitEmpty(ctx)
	cancel()
	watching.Wait()
	return err
}

func (c *containment) Members() ([]proctree.Process, error) {
	ended := c.ended.Load()
	// A leader that has ended may be listed a little longer.
	rows, err := c.except(func(p proctree.Process) bool { return p.ID == c.id && c.ended.Load() })
	c.empty.Store(ended && len(rows) == 0 && err == nil)
	return rows, err
}

func (c *containment) Facts() hold.Facts {
	f := hold.Facts{HelperPID: c.owner.guardPID(), OwnersDeath: hold.DeathStops}
	if c.dir != nil {
		f.Path = c.dir.Path()
	}
	if why := c.unguarded.Load(); why != nil {
		f.Unguarded = *why
	}
	if c.counted {
		now := c.account(false)
		f.Run, f.OutOfMemory, f.OverLimit = now.used, now.outOfMemory, now.ofLimit
	}
	return f
}

func (c *containment) LetGo() error {
	if err := c.owner.letGo(c.dir); err != nil {
		return err
	}
	return c.Child.LetGo()
}

func (c *containment) Close() error {
	c.DropHandle()
	if c.dir == nil {
		return nil
	}
	c.spared.close(c.owner)
	if c.counted {
		c.account(true)
	}
	if c.PID() == 0 {
		return c.owner.put(c.dir, c.plan, false, false)
	}
	c.owner.burySiblings()
	zombie := 0
	if !c.reaped {
		pid, status, _, err := child.Peek(c.PID())
		c.judge(status, err)
		zombie = pid
	}
	err := c.owner.put(c.dir, c.plan, c.reusable, c.empty.Load())
	if zombie == 0 {
		allBirths.forget(c.id)
	}
	return err
}

// Reap also finds out whether the directory can be used again. A member may have
// killed it by the file that Corral uses (cgroup.kill). That does not show, but
// some kernels kill whatever is born in it later: see stillborn.
func (c *containment) Reap() (*os.ProcessState, error) {
	state, err := c.Child.Reap()
	c.reaped = true
	allBirths.forget(c.id)
	if state != nil {
		status, _ := state.Sys().(syscall.WaitStatus)
		c.judge(status, nil)
	}
	return state, err
}

// judge decides from the leader's end whether the directory can be used again.
func (c *containment) judge(status syscall.WaitStatus, err error) {
	killed := status.Signaled() && status.Signal() == syscall.SIGKILL
	c.reusable = err == nil && !killed && !c.stopped.Load() && !c.counted
}

func (c *containment) Signal(sigs ...os.Signal) error {
	c.stopped.Store(true)
	return c.cgroupMembers.Signal(sigs...)
}

func (c *containment) Kill() error {
	c.stopped.Store(true)
	return c.cgroupMembers.Kill()
}
