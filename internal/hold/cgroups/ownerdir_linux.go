package cgroups

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/corral-run/corral/internal/cgroup"
	"github.com/corral-run/corral/internal/child"
	"github.com/corral-run/corral/internal/files"
	"github.com/corral-run/corral/internal/helper"
	"github.com/corral-run/corral/internal/proctree"
	"github.com/corral-run/corral/internal/wire"
	"golang.org/x/sys/unix"
)

// ownerDir is the owner's directory of control groups: one for all its runs, below
// the owner's own control group, so that limits and whoever kills that one
// reach the runs as well. In it there is one directory per run, named so that
// whoever finds it knows how to stop the run, and used for other runs later.
//
// The lock on the directory says that its owner or the owner's guard is alive.
// It is on the description of the open file, which the guard inherits, so no
// PID and no PID namespace comes into it. A mark on it, an extended attribute, says that it is
// Corral's: a name can be anybody's.
//
// Commands can do to these directories whatever the owner can. So what is used again is
// looked at, and nothing that they can make slow is waited for with the lock held.
type ownerDir struct {
	mu sync.Mutex
	no error // why there can be none, found out once
	site
	helperPath string // the program that the guard is started from, if it is not this one
	serial     int
	inUse      int
	idle       time.Time   // since when there is no run
	timer      *time.Timer // for rest, nil if it is not running

	hired   time.Time     // when the guard was, or was to be
	pause   time.Duration // until the next try
	guarded error         // why there is no guard
}

// site is what an owner has for its runs, to be given up together.
type site struct {
	parent *cgroup.Dir // the owner's own control group
	home   *cgroup.Dir
	free   map[string][]*cgroup.Dir // by plan

	guard *os.Process
	lines *os.File // to the guard

	shared bool // a run may still use parent and home
}

// owner is this process's.
var owner ownerDir

const (
	// idleTime is how long the guard and the directories are kept for the next
	// run, once there is none.
	idleTime = 10 * time.Second
	// mostFree is how many directories are kept. Each has four descriptors.
	mostFree = 32
)

// take returns a directory for a run.
func (p *ownerDir) take(helperPath, plan string) (dir *cgroup.Dir, reused bool, err error) {
	var unfit []*cgroup.Dir
	defer func() { discard(unfit...) }() // with the lock given back
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.no != nil {
		return nil, false, p.no
	}
	p.helperPath = helperPath
	if p.home != nil {
		if err := p.home.Usable(); err != nil {
			if p.inUse > 0 {
				return nil, false, err
			}
			go p.retire().end()
		}
	}
	if p.home == nil {
		if err := p.build(); err != nil {
			// What has worked once may work again, when what a command has done there is gone.
			if p.serial == 0 && !transient(err) {
				p.no = err
			}
			return nil, false, err
		}
	}
	if p.lines == nil || files.HungUp(p.lines) {
		p.dismiss()
		if err := p.hire(false); err != nil {
			return nil, false, err
		}
	}
	for list := p.free[plan]; len(list) > 0; list = p.free[plan] {
		dir, p.free[plan] = list[len(list)-1], list[:len(list)-1]
		if clean, err := dir.Pristine(); err == nil && clean {
			p.inUse++
			return dir, true, nil
		}
		unfit = append(unfit, dir)
	}
	dir, err = p.add(plan)
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ENODEV) {
		// Somebody has removed the owner's directory, or moved the owner.
		go p.retire().end()
		if err = p.build(); err == nil {
			dir, err = p.add(plan)
		}
	}
	if err != nil {
		return nil, false, err
	}
	p.inUse++
	return dir, false, nil
}

func (p *ownerDir) create(plan string) (*cgroup.Dir, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.add(plan)
}

// add makes a directory for a run, with all open that a stop needs.
func (p *ownerDir) add(plan string) (*cgroup.Dir, error) {
	p.serial++
	path := filepath.Join(p.home.Path(), strconv.Itoa(p.serial)+"."+plan)
	dir, err := cgroup.Create(path)
	if errors.Is(err, unix.EAGAIN) && p.home.Mend() == nil { // somebody has limited what may be in it
		dir, err = cgroup.Create(path)
	}
	if err != nil {
		return nil, err
	}
	clean, err := dir.Pristine()
	if err == nil && !clean && p.home.Mend() == nil {
		clean, err = dir.Pristine()
	}
	if err == nil && !clean {
		err = fmt.Errorf("%s: a new control group cannot be used: is the one that it is in frozen?", path)
	}
	if err == nil {
		err = dir.Hold()
	}
	if err != nil {
		discard(dir)
		return nil, err
	}
	return dir, nil
}

// give takes back the directory of a run that is over. Who is in it still, was
// kept or cannot be killed, and goes to where it would have been without us.
func (p *ownerDir) give(dir *cgroup.Dir, plan string, reusable bool) error {
	populated, err := dir.Populated()
	if populated && err == nil {
		err = p.letGo(dir)
	}
	if !reusable || populated || err != nil || !p.keep(dir, plan) {
		err = errors.Join(err, discard(dir))
	}
	p.mu.Lock()
	defer p.mu.Unlock()
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

// letGo moves who is in the directory to where it would have been without us.
func (p *ownerDir) letGo(dir *cgroup.Dir) error {
	p.mu.Lock()
	parent := p.parent
	p.mu.Unlock()
	if parent == nil {
		return nil // it was given up, which is not done as long as there is a run
	}
	return dir.MoveTo(parent)
}

// keep keeps a directory for another run, if there are not too many.
func (p *ownerDir) keep(dir *cgroup.Dir, plan string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.home == nil || filepath.Dir(dir.Path()) != p.home.Path() || len(p.free[plan]) >= mostFree {
		return false
	}
	p.free[plan] = append(p.free[plan], dir)
	return true
}

func discard(dirs ...*cgroup.Dir) error {
	var errs []error
	for _, dir := range dirs {
		errs = append(errs, dir.Remove(), dir.Close())
	}
	return errors.Join(errs...)
}

// GiveBack ends the guard and removes the control groups that are kept for the next run,
// unless there is a run, and returns when that is done. The end of the last program of a
// PID namespace takes the guard before it has cleaned up: tests are such programs.
func GiveBack() {
	owner.mu.Lock()
	if owner.inUse > 0 || owner.home == nil {
		owner.mu.Unlock()
		return
	}
	old := owner.retire()
	owner.mu.Unlock()
	old.end()
}

// rest gives everything back, as there has been no run for a while.
func (p *ownerDir) rest() {
	p.mu.Lock()
	p.timer = nil
	if p.inUse > 0 || p.home == nil {
		p.mu.Unlock()
		return
	}
	if idle := time.Since(p.idle); idle < idleTime {
		p.timer = time.AfterFunc(idleTime-idle, p.rest)
		p.mu.Unlock()
		return
	}
	old := p.retire()
	p.mu.Unlock()
	old.end()
}

// retire takes away the directory and the guard: for the caller to end, without
// the lock.
func (p *ownerDir) retire() site {
	old := p.site
	old.shared = p.inUse > 0
	p.site = site{}
	return old
}

func (s site) end() {
	for _, list := range s.free {
		discard(list...)
	}
	endGuard(s.guard, s.lines)
	s.home.Remove() // if the guard has not been there to do it
	if !s.shared {
		s.home.Close()
		s.parent.Close()
	}
}

// build makes the owner's directory, and the guard in it.
func (p *ownerDir) build() error {
	if _, err := helper.Source(p.helperPath); err != nil {
		return err
	}
	path, err := cgroup.Own()
	if err != nil {
		return err
	}
	parent, err := cgroup.Open(path)
	if err != nil {
		return err
	}
	if err := parent.HoldEntry(); err != nil {
		parent.Close()
		return err
	}
	self, err := proctree.Identify(os.Getpid())
	if err != nil {
		parent.Close()
		return err
	}
	path = filepath.Join(path, fmt.Sprintf("%s%d-%d", wire.HomePrefix, self.PID, self.Start))
	for attempt := 0; ; attempt++ {
		// Its like in another PID namespace may have the same name, and one of our own that
		// is being given up.
		name := path
		if attempt > 0 {
			name += "-" + strconv.Itoa(attempt)
		}
		err := p.open(parent, name)
		// Until it has the lock, a guard of a version that does not look for the mark takes it
		// for left over, and removes it.
		swept := errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ENODEV) || errors.Is(err, errLocked)
		if err == nil {
			return nil
		}
		if attempt == 100 || !swept && !errors.Is(err, os.ErrExist) {
			parent.Close()
			return err
		}
	}
}

var errLocked = errors.New("another process holds the lock")

// open makes the owner's directory under the given path, and hires its guard.
func (p *ownerDir) open(parent *cgroup.Dir, path string) error {
	home, err := cgroup.Create(path)
	if err != nil {
		return err
	}
	locked, err := home.Lock()
	if err == nil && !locked {
		err = fmt.Errorf("%s: %w", path, errLocked)
	}
	if err == nil {
		// With the lock held, as whoever finds the mark without it removes the directory.
		// Where there are no such marks, what owner and guard leave if both are killed stays.
		home.Mark()
		err = home.HoldState()
	}
	p.site = site{parent: parent, home: home, free: make(map[string][]*cgroup.Dir)}
	if err == nil {
		err = p.hire(true)
	}
	if err == nil && !p.up() {
		err = fmt.Errorf("start a process in %s: it was killed at its birth, or does not come up", path)
	}
	if err != nil {
		p.dismiss()
		home.Remove()
		home.Close()
		p.site = site{}
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
// The first one is born in the owner's directory, which shows whether runs can be: the call
// may be forbidden, or the directory's type may not allow it. Later ones are not:
// what commands have done to the directory must not be in their way.
func (p *ownerDir) hire(first bool) error {
	fd, err := unix.FcntlInt(uintptr(p.home.FD()), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("dup", err)
	}
	home := os.NewFile(uintptr(fd), p.home.Path())
	defer home.Close()
	// The signal wakes a guard that has been stopped, when this process dies.
	attr := &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGCONT}
	if first {
		attr.UseCgroupFD, attr.CgroupFD = true, p.home.FD()
	}
	p.hired = time.Now()
	p.guard, p.lines, err = helper.Start(p.helperPath, wire.GuardRole, []string{p.home.Path()}, attr, home)
	if err != nil {
		return fmt.Errorf("start a process in %s: %w", p.home.Path(), err)
	}
	return nil
}

// up waits until the guard has all that it takes to stop the runs: a command may take
// every thread and every process that there is as soon as it is started. It reports false
// if that does not come about. Some kernels kill whoever is born in a cgroup that is not
// the parent's, if the parent's has ever been killed by cgroup.kill.
func (p *ownerDir) up() bool {
	const patience = 5 * time.Second
	for range 3 {
		p.lines.SetReadDeadline(time.Now().Add(patience))
		n, _ := p.lines.Read(make([]byte, 1))
		p.lines.SetReadDeadline(time.Time{})
		if n == 1 {
			return true
		}
		// Somebody may have killed it.
		p.dismiss()
		if p.hire(true) != nil {
			return false
		}
	}
	return false
}

// dismiss gives up a guard that has ended, or will.
func (p *ownerDir) dismiss() {
	if p.lines != nil {
		go endGuard(p.guard, p.lines)
		p.lines, p.guard = nil, nil
	}
}

// endGuard reaps a guard, which ends as its line does. One that does not, since somebody
// stops it again and again, or since what it clears away takes too long, is killed.
func endGuard(guard *os.Process, line *os.File) {
	if line == nil {
		return
	}
	line.Close()
	const patience = 30 // seconds
	for range patience {
		guard.Signal(syscall.SIGCONT)
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		err := child.AwaitExit(ctx, guard)
		cancel()
		if err == nil {
			break
		}
	}
	guard.Kill()
	guard.Wait()
}

// guardPID is the guard's, or 0.
func (p *ownerDir) guardPID() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.guard == nil {
		return 0
	}
	return p.guard.Pid
}

// guardLine returns the line to the guard, or if there is no guard, in how many milliseconds
// that should be changed.
func (p *ownerDir) guardLine() (line *os.File, again int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.lines != nil || p.home == nil {
		return p.lines, -1
	}
	return nil, max(1, int(time.Until(p.hired.Add(p.pause))/time.Millisecond)+1)
}

// replace replaces the guard whose line was the given one, unless somebody has, or has
// tried a short while ago. It returns why there is no guard.
//
// The pause grows with each try, until a guard has lived for a second.
func (p *ownerDir) replace(line *os.File) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.home == nil || p.lines != nil && p.lines != line {
		return nil
	}
	const longest = 5 * time.Second
	age := time.Since(p.hired)
	if p.lines != nil && age > time.Second {
		p.pause = 0
	}
	p.dismiss()
	if age < p.pause {
		if p.guarded == nil {
			p.guarded = errors.New("somebody ends it again and again")
		}
		return p.guarded
	}
	p.pause = min(max(2*p.pause, time.Millisecond), longest)
	p.guarded = p.hire(false)
	return p.guarded
}
