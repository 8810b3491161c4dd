package corral

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/corral-run/corral/internal/cgroup"
	"github.com/corral-run/corral/internal/proctree"
)

// cgroupMembers are the members of a run that has a control group.
type cgroupMembers struct{ dir *cgroup.Dir }

func (m cgroupMembers) signal(sigs ...os.Signal) error { return m.dir.Signal(sigs...) }

func (m cgroupMembers) kill() error { return m.dir.Kill() }

func (m cgroupMembers) members() ([]proctree.Process, error) {
	return m.except(func(proctree.Process) bool { return false })
}

func (m cgroupMembers) except(ended func(proctree.Process) bool) ([]proctree.Process, error) {
	return seen(func() ([]proctree.Process, bool, error) {
		if populated, err := m.dir.Populated(); err != nil || !populated {
			return nil, true, err
		}
		rows, err := m.dir.Members()
		return slices.DeleteFunc(rows, ended), false, err
	})
}

func (m cgroupMembers) empty(ctx context.Context) error { return m.dir.Empty(ctx) }

// cgroupContainment is a control group of version 2, in which the leader is
// born. A member leaves it only by writing to the files of another one, for
// which it needs the owner's privileges at least.
type cgroupContainment struct {
	child
	cgroupMembers
	pens   *pens
	plan   string
	reused bool
	leader *os.Process
	id     proctree.ID
	ended  atomic.Bool // the leader has

	stopped   atomic.Bool // a signal has been sent
	untouched bool
}

func openCgroup(req request) (containment, error) {
	if req.attr != nil && req.attr.UseCgroupFD {
		return nil, errors.New("SysProcAttr.UseCgroupFD asks for another one")
	}
	c := &cgroupContainment{pens: &owner, plan: planName(req.plan)}
	var err error
	c.dir, c.reused, err = c.pens.take(c.plan)
	if err != nil {
		return nil, err
	}
	return c, nil
}

func (c *cgroupContainment) prepare(cmd *exec.Cmd) error {
	attr := new(syscall.SysProcAttr)
	if cmd.SysProcAttr != nil {
		*attr = *cmd.SysProcAttr
	}
	attr.UseCgroupFD, attr.CgroupFD = true, c.dir.FD()
	cmd.SysProcAttr = attr
	return nil
}

func (c *cgroupContainment) start(cmd *exec.Cmd) (*os.Process, proctree.ID, error) {
	again := *cmd
	moment := proctree.Now()
	err := c.child.start(cmd)
	if c.reused && (errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EBUSY) || errors.Is(err, unix.ENODEV)) {
		// An earlier run has left its directory in a state that we do not look
		// for, such as a limit or a type. These errors are not those of exec.
		var fresh *cgroup.Dir
		if fresh, err = c.pens.create(c.plan); err == nil {
			c.pens.discard(c.dir)
			c.dir = fresh
			if err = c.prepare(&again); err == nil {
				err = c.child.start(&again)
			}
		}
	}
	if err != nil {
		return nil, c.id, err
	}
	c.leader = c.cmd.Process
	if c.id, err = moment.Born(c.leader.Pid); err != nil {
		c.abandon()
		return nil, c.id, fmt.Errorf("corral: cgroup containment: %w", err)
	}
	return c.leader, c.id, nil
}

func (c *cgroupContainment) exited(ctx context.Context) (held bool, err error) {
	for {
		line := c.pens.line()
		guardDied, err := awaitExitOr(ctx, c.leader, line)
		if guardDied {
			c.pens.restart(line)
			continue
		}
		if err == nil {
			c.ended.Store(true)
		}
		return false, err
	}
}

func (c *cgroupContainment) members() ([]proctree.Process, error) {
	// A leader that has ended may be listed a little longer.
	return c.except(func(p proctree.Process) bool { return p.ID == c.id && c.ended.Load() })
}

func (c *cgroupContainment) helper() int {
	c.pens.mu.Lock()
	defer c.pens.mu.Unlock()
	if c.pens.guard == nil {
		return 0
	}
	return c.pens.guard.Pid
}

func (c *cgroupContainment) close() error {
	if c.dir == nil {
		return nil
	}
	return c.pens.give(c.dir, c.plan, c.untouched)
}

// reap also finds out whether the directory can be used again: where a member
// has killed it by the same file that Corral uses (cgroup.kill), which does not
// show, the kernel kills whoever is born in it later.
func (c *cgroupContainment) reap() (*os.ProcessState, error) {
	state, err := c.child.reap()
	if state != nil && !c.stopped.Load() {
		status, ok := state.Sys().(syscall.WaitStatus)
		c.untouched = ok && !(status.Signaled() && status.Signal() == syscall.SIGKILL)
	}
	return state, err
}

func (c *cgroupContainment) signal(sigs ...os.Signal) error {
	c.stopped.Store(true)
	return c.cgroupMembers.signal(sigs...)
}

func (c *cgroupContainment) kill() error {
	c.stopped.Store(true)
	return c.cgroupMembers.kill()
}

// pens is the owner's directory of control groups: one for all its runs, below
// the owner's own control group, so that limits and whoever kills that one
// reach the runs as well. In it there is one directory per run, named so that
// whoever finds it knows how to stop the run, and used for other runs later.
//
// The lock on the directory says that its owner or the owner's guard is alive.
// It is on the description of the open file, which the guard inherits, so no
// PID and no PID namespace comes into it.
type pens struct {
	mu     sync.Mutex
	no     error // why there can be none, found out once
	parent string
	home   *cgroup.Dir
	free   map[string][]*cgroup.Dir // by plan
	serial int
	inUse  int
	idle   time.Time   // since when there is no run
	timer  *time.Timer // for rest, nil if it is not running

	guard *os.Process
	lines *os.File // to the guard
}

// owner is this process's pens.
var owner pens

const (
	homePrefix = "corral-"
	// idleTime is how long the guard and the directories are kept for the next
	// run, once there is none.
	idleTime = 10 * time.Second
	// mostFree is how many directories are kept.
	mostFree = 64
)

// take returns a directory for a run.
func (p *pens) take(plan string) (dir *cgroup.Dir, reused bool, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.no != nil {
		return nil, false, p.no
	}
	if p.home == nil {
		if err := p.settle(); err != nil {
			if !transient(err) {
				p.no = err
			}
			return nil, false, err
		}
	}
	if p.lines == nil || hungUp(p.lines) {
		p.dismiss()
		if err := p.hire(); err != nil {
			return nil, false, err
		}
	}
	for list := p.free[plan]; len(list) > 0 && dir == nil; list = p.free[plan] {
		dir, p.free[plan] = list[len(list)-1], list[:len(list)-1]
		if clean, err := dir.Pristine(); err != nil || !clean {
			p.discard(dir)
			dir = nil
		}
	}
	reused = dir != nil
	if dir == nil {
		dir, err = p.add(plan)
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ENODEV) {
			// Somebody has removed the owner's directory, or moved the owner.
			p.dissolve()
			if err = p.settle(); err == nil {
				dir, err = p.add(plan)
			}
		}
		if err != nil {
			return nil, false, err
		}
	}
	p.inUse++
	return dir, reused, nil
}

func (p *pens) create(plan string) (*cgroup.Dir, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.add(plan)
}

func (p *pens) add(plan string) (*cgroup.Dir, error) {
	p.serial++
	return cgroup.Create(filepath.Join(p.home.Path(), strconv.Itoa(p.serial)+"."+plan))
}

// give takes back the directory of a run that is over. Who is in it still, was
// kept or cannot be killed, and goes to where it would have been without us.
func (p *pens) give(dir *cgroup.Dir, plan string, reusable bool) error {
	populated, err := dir.Populated()
	if populated && err == nil {
		if own, oerr := cgroup.Open(p.parent); oerr == nil {
			err = dir.MoveTo(own)
			own.Close()
		} else {
			err = oerr
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if reusable && !populated && err == nil && len(p.free[plan]) < mostFree {
		p.free[plan] = append(p.free[plan], dir)
	} else {
		err = errors.Join(err, p.discard(dir))
	}
	if p.inUse--; p.inUse == 0 {
		// The timer is let run, as setting it anew for each run takes longer than all
		// else that is done here.
		p.idle = time.Now()
		if p.timer == nil {
			p.timer = time.AfterFunc(idleTime, p.rest)
		}
	}
	return err
}

func (p *pens) discard(dir *cgroup.Dir) error {
	err := dir.Remove()
	return errors.Join(err, dir.Close())
}

// rest gives everything back, as there has been no run for a while.
func (p *pens) rest() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.timer = nil
	if p.inUse > 0 || p.home == nil {
		return
	}
	if idle := time.Since(p.idle); idle < idleTime {
		p.timer = time.AfterFunc(idleTime-idle, p.rest)
		return
	}
	p.dissolve()
}

// dissolve gives up the directory and the guard, which lives in it.
func (p *pens) dissolve() {
	for _, list := range p.free {
		for _, dir := range list {
			p.discard(dir)
		}
	}
	p.free = nil
	p.dismiss()
	p.home.Remove() // if the guard has not been there to do it
	p.home.Close()
	p.home = nil
}

// settle makes the owner's directory, and the guard in it.
func (p *pens) settle() error {
	if _, err := helperSource(); err != nil {
		return err
	}
	parent, err := cgroup.Own()
	if err != nil {
		return err
	}
	self, err := proctree.Identify(os.Getpid())
	if err != nil {
		return err
	}
	name := fmt.Sprintf("%s%d-%d", homePrefix, self.PID, self.Start)
	for attempt := 0; ; attempt++ {
		// Its like in another PID namespace may have the same name.
		path := filepath.Join(parent, name)
		if attempt > 0 {
			path += "-" + strconv.Itoa(attempt)
		}
		err := p.open(parent, path)
		// Until it has the lock, another owner's guard takes it for left over, and
		// removes it.
		swept := errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ENODEV) || errors.Is(err, errLocked)
		if err == nil || attempt == 100 || !swept && !errors.Is(err, os.ErrExist) {
			return err
		}
	}
}

var errLocked = errors.New("another process holds the lock")

// open makes the owner's directory under the given path, and hires its guard.
func (p *pens) open(parent, path string) error {
	home, err := cgroup.Create(path)
	if err != nil {
		return err
	}
	locked, err := home.Lock()
	if err == nil && !locked {
		err = fmt.Errorf("%s: %w", path, errLocked)
	}
	p.parent, p.home, p.free = parent, home, make(map[string][]*cgroup.Dir)
	if err == nil {
		err = p.hire()
	}
	if err == nil && !p.born() {
		err = fmt.Errorf("start a process in %s: it was killed at its birth", path)
		p.dismiss()
	}
	if err != nil {
		if locked {
			home.Remove()
		}
		home.Close()
		p.home = nil
	}
	return err
}

// transient: another time it may work.
func transient(err error) bool {
	for _, errno := range []syscall.Errno{unix.EMFILE, unix.ENFILE, unix.ENOMEM, unix.EAGAIN, unix.ENOSPC} {
		if errors.Is(err, errno) {
			return true
		}
	}
	return false
}

// hire starts the guard. It holds the line to the owner from the moment it
// exists; that its program comes up is not waited for.
//
// It is born in the owner's directory, which shows whether runs can be: the call
// may be forbidden, or the directory's type may not allow it. See also born.
func (p *pens) hire() error {
	fd, err := unix.FcntlInt(uintptr(p.home.FD()), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("dup", err)
	}
	home := os.NewFile(uintptr(fd), p.home.Path())
	defer home.Close()
	p.guard, p.lines, err = startHelper(guardRole, []string{p.home.Path()},
		&syscall.SysProcAttr{Setsid: true, UseCgroupFD: true, CgroupFD: p.home.FD()}, home)
	if err != nil {
		return fmt.Errorf("start a process in %s: %w", p.home.Path(), err)
	}
	return nil
}

// born reports whether the guard has been able to execute its program. Some
// kernels kill whoever is born in a cgroup that is not the parent's, if the
// parent's has ever been killed by cgroup.kill.
func (p *pens) born() bool {
	for range 3 {
		_, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", p.guard.Pid))
		if !errors.Is(err, os.ErrNotExist) {
			return true
		}
		// Somebody may have killed it since.
		p.dismiss()
		if p.hire() != nil {
			return false
		}
	}
	return false
}

// dismiss waits for a guard that has ended, or ends now because its line does.
func (p *pens) dismiss() {
	if p.lines != nil {
		p.lines.Close()
		p.guard.Wait()
		p.lines, p.guard = nil, nil
	}
}

func (p *pens) line() *os.File {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.lines
}

// restart replaces the guard whose line was the given one, unless somebody has.
func (p *pens) restart(line *os.File) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.lines != line {
		return
	}
	p.dismiss()
	for range 10 {
		if p.home == nil || p.hire() == nil {
			return
		}
	}
	// The next run will try again.
}

// planName is a stop plan as a part of a directory's name: the guard has no
// other source. What does not fit into a name is left out.
func planName(plan StopPlan) string {
	var name strings.Builder
	for _, step := range plan {
		sig, _ := step.Signal.(syscall.Signal)
		part := fmt.Sprintf("%d-%d", sig, step.Wait.Milliseconds())
		if name.Len() > 0 {
			part = "," + part
		}
		if name.Len()+len(part) > 200 {
			break
		}
		name.WriteString(part)
	}
	return name.String()
}

func planOf(directory string) StopPlan {
	_, name, _ := strings.Cut(directory, ".")
	var plan StopPlan
	for part := range strings.SplitSeq(name, ",") {
		number, wait, _ := strings.Cut(part, "-")
		n, err := strconv.Atoi(number)
		ms, werr := strconv.ParseInt(wait, 10, 64)
		if err == nil && werr == nil {
			plan = append(plan, StopStep{syscall.Signal(n), time.Duration(ms) * time.Millisecond})
		}
	}
	return plan
}
