package cgroups

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/corral-run/corral/internal/cgroup"
	"github.com/corral-run/corral/internal/child"
	"github.com/corral-run/corral/internal/files"
	"github.com/corral-run/corral/internal/helper"
	"github.com/corral-run/corral/internal/proctree"
	"github.com/corral-run/corral/internal/stub"
	"github.com/corral-run/corral/internal/stub/bare"
	"github.com/corral-run/corral/internal/wire"
	"golang.org/x/sys/unix"
)

// ownerDir is the owner's directory of control groups: one for all its runs, below
// the owner's own control group, so that its limits, and whoever kills it, reach
// the runs as well. In it each run has a directory. Its name tells whoever finds it
// how to stop the run. It is used for other runs later.
//
// The lock on the directory says that its owner or the owner's guard is alive. It
// is on the open file description, which the guard inherits, so PIDs and PID
// namespaces play no part. A mark on the directory, an extended attribute, says
// that it is Corral's: anybody may choose its name.
//
// Commands can do to these directories whatever the owner can. So a directory is
// checked before it is used again, and mu is never held during a wait that a
// command can prolong.
type ownerDir struct {
	mu         sync.Mutex
	impossible error // why there can be no directory, found out once
	site
	helperPath string // the program that the guard is started from, if it is not this one
	name       string // of the directory, but for a number at its end
	serial     int
	inUse      int
	idle       time.Time   // since when there has been no run
	timer      *time.Timer // for giveBackIdle; nil if it is not running

	counts  bool              // the runs' control groups have controllers: see limits_linux.go
	lacking map[string]string // why they do not have a controller
	burying bool              // a timer runs for buryLater

	hired     time.Time     // when a guard was last started, or tried
	pause     time.Duration // before the next try
	unguarded error         // why there is no guard
}

// site is what an owner has for its runs and gives up together.
type site struct {
	parent *cgroup.Dir // the owner's own control group
	around *cgroup.Dir // in which home is: parent, but for runs with controllers
	home   *cgroup.Dir
	free   map[string][]*cgroup.Dir // by plan

	guard *os.Process
	line  *os.File // to the guard

	shared bool // a run may still use parent and home
}

// close closes the descriptors of what is around home.
func (s site) close() {
	if s.around != s.parent && s.around != nil {
		s.around.Close()
	}
	s.parent.Close()
}

// thisOwner is this process's directory, and countedOwner the one for runs whose
// control groups have controllers.
var (
	thisOwner    ownerDir
	countedOwner = ownerDir{counts: true}
)

const (
	// idleTime is how long an owner without a run keeps its guard and directories
	// for the next one.
	idleTime = 10 * time.Second
	// mostFree is how many directories of a plan are kept. Each has four
	// descriptors.
	mostFree = 32
)

// take returns a directory for a run, if fresh is set one that no other run has used.
// put takes it back.
func (o *ownerDir) take(helperPath, plan string, fresh bool) (dir *cgroup.Dir, reused bool, err error) {
	var unfit []*cgroup.Dir
	defer func() { discard(unfit...) }() // without the lock
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.impossible != nil {
		return nil, false, o.impossible
	}
	o.helperPath = helperPath
	if o.home != nil {
		if err := o.home.Usable(); err != nil {
			if o.inUse > 0 {
				return nil, false, err
			}
			go o.retire().end()
		}
	}
	if o.home == nil {
		if err := o.build(); err != nil {
			// What has worked once may work again, once a command's interference is
			// gone. For controllers, somebody may do what the error says.
			if o.serial == 0 && !transient(err) && !o.counts {
				o.impossible = err
			}
			return nil, false, err
		}
	}
	if o.line == nil || files.HungUp(o.line) {
		o.dismiss()
		if err := o.hire(false); err != nil {
			return nil, false, err
		}
	}
	for list := o.free[plan]; len(list) > 0 && !fresh; list = o.free[plan] {
		dir, o.free[plan] = list[len(list)-1], list[:len(list)-1]
		if clean, err := dir.Pristine(); err == nil && clean {
			o.inUse++
			return dir, true, nil
		}
		unfit = append(unfit, dir)
	}
	dir, err = o.add(plan)
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ENODEV) {
		// Somebody has removed the owner's directory, or has moved the owner.
		go o.retire().end()
		if err = o.build(); err == nil {
			dir, err = o.add(plan)
		}
	}
	if err != nil {
		return nil, false, err
	}
	o.inUse++
	return dir, false, nil
}

// create makes a new directory for a run.
func (o *ownerDir) create(plan string) (*cgroup.Dir, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.add(plan)
}

// add makes a directory for a run and opens what a stop needs. The caller has the
// lock.
func (o *ownerDir) add(plan string) (*cgroup.Dir, error) {
	o.serial++
	path := filepath.Join(o.home.Path(), strconv.Itoa(o.serial)+"."+plan)
	dir, err := cgroup.Create(path)
	if errors.Is(err, unix.EAGAIN) && o.home.Mend() == nil { // somebody has limited what may be in home
		dir, err = cgroup.Create(path)
	}
	if err != nil {
		return nil, err
	}
	clean, err := dir.Pristine()
	if err == nil && !clean && o.home.Mend() == nil {
		clean, err = dir.Pristine()
	}
	if err == nil && !clean {
		err = fmt.Errorf("%s: the new control group cannot be used: is its parent frozen?", path)
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

// put takes back the directory of a run that is over. Unless it has been seen to be
// empty, whoever is still in it was kept or cannot be killed, and goes where it
// would have been without Corral.
func (o *ownerDir) put(dir *cgroup.Dir, plan string, reusable, empty bool) (err error) {
	populated := false
	if !empty {
		populated, err = dir.Populated()
	}
	if populated && err == nil {
		err = o.letGo(dir)
	}
	if !reusable || populated || err != nil || !o.keep(dir, plan) {
		err = errors.Join(err, discard(dir))
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.inUse--; o.inUse == 0 {
		// The timer goes on running: to set it anew for each run would take longer
		// than all else here.
		o.idle = time.Now()
		if o.timer == nil {
			o.timer = time.AfterFunc(idleTime, o.giveBackIdle)
		}
	}
	return err
}

// letGo moves whoever is in the directory to where it would have been without
// Corral.
func (o *ownerDir) letGo(dir *cgroup.Dir) error {
	o.mu.Lock()
	parent := o.parent
	o.mu.Unlock()
	if parent == nil {
		return nil // it was given up, which happens only when there is no run
	}
	return dir.MoveTo(parent)
}

// keep keeps a directory for another run, unless there are many already.
func (o *ownerDir) keep(dir *cgroup.Dir, plan string) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.home == nil || filepath.Dir(dir.Path()) != o.home.Path() || len(o.free[plan]) >= mostFree {
		return false
	}
	o.free[plan] = append(o.free[plan], dir)
	return true
}

// discard removes the directories and closes them.
func discard(dirs ...*cgroup.Dir) error {
	var errs []error
	for _, dir := range dirs {
		errs = append(errs, dir.Remove(), dir.Close())
	}
	return errors.Join(errs...)
}

// GiveBack ends the guard and removes the control groups that are kept for the next
// run, and returns when that is done. It does nothing while there is a run. Tests
// need it: when the last program of a PID namespace ends, the kernel kills the
// guard before it has cleaned up.
func GiveBack() {
	for _, o := range []*ownerDir{&thisOwner, &countedOwner} {
		o.mu.Lock()
		if o.inUse > 0 || o.home == nil {
			o.mu.Unlock()
			continue
		}
		old := o.retire()
		o.mu.Unlock()
		old.end()
	}
}

// giveBackIdle gives everything back once there has been no run for idleTime.
func (o *ownerDir) giveBackIdle() {
	o.mu.Lock()
	o.timer = nil
	if o.inUse > 0 || o.home == nil {
		o.mu.Unlock()
		return
	}
	if idle := time.Since(o.idle); idle < idleTime {
		o.timer = time.AfterFunc(idleTime-idle, o.giveBackIdle)
		o.mu.Unlock()
		return
	}
	old := o.retire()
	o.mu.Unlock()
	old.end()
}

// retire takes the site away from the owner. The caller ends it, without the lock.
func (o *ownerDir) retire() site {
	old := o.site
	old.shared = o.inUse > 0
	o.site = site{}
	return old
}

// end ends the guard and removes the directories.
func (s site) end() {
	for _, list := range s.free {
		discard(list...)
	}
	endGuard(s.guard, s.line)
	s.home.Remove() // in case the guard did not live to do it
	if !s.shared {
		s.home.Close()
		s.close()
	}
}

// build makes the owner's directory and starts its guard.
func (o *ownerDir) build() error {
	if _, err := helper.Program(o.helperPath); err != nil {
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
	where := site{parent: parent, around: parent}
	if o.counts {
		if where.around, err = placeForControllers(parent); err != nil {
			where.close()
			return err
		}
	}
	if err := parent.HoldEntry(); err != nil {
		where.close()
		return err
	}
	self, err := proctree.Identify(os.Getpid())
	if err != nil {
		where.close()
		return err
	}
	o.name = fmt.Sprintf("%s%d-%d", wire.HomePrefix, self.PID, self.Start)
	path = filepath.Join(where.around.Path(), o.name)
	for attempt := 0; ; attempt++ {
		// An owner in another PID namespace may have a directory of the same name;
		// so may this owner, while it gives one up.
		name := path
		if attempt > 0 {
			name += "-" + strconv.Itoa(attempt)
		}
		err := o.open(where, name)
		// Until it is locked, a guard of a version that does not look for the mark
		// takes it for left over and removes it.
		swept := errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ENODEV) || errors.Is(err, errLocked)
		if err == nil {
			return nil
		}
		if attempt == 100 || !swept && !errors.Is(err, os.ErrExist) {
			where.close()
			return err
		}
	}
}

var errLocked = errors.New("another process holds the lock")

// open makes the owner's directory under the given path, and hires its guard.
func (o *ownerDir) open(where site, path string) error {
	home, err := cgroup.Create(path)
	if err != nil {
		return err
	}
	locked, err := home.Lock()
	if err == nil && !locked {
		err = fmt.Errorf("%s: %w", path, errLocked)
	}
	if err == nil {
		// The lock comes first: whoever finds the mark without it removes the
		// directory. Where there are no extended attributes, what owner and guard
		// leave stays if both are killed.
		home.Mark()
		err = home.HoldState()
	}
	o.site = site{parent: where.parent, around: where.around, home: home, free: make(map[string][]*cgroup.Dir)}
	if err == nil && o.counts {
		o.lacking = handOn(where.around, home)
	}
	if err == nil {
		err = o.hire(!o.counts)
	}
	if err == nil && !o.guardIsUp() {
		err = fmt.Errorf("start the guard in %s: it ended at once, or did not say in time that it is ready", path)
		if o.helperPath != "" {
			err = fmt.Errorf("%w (does HelperPath, %s, import this version of this package?)", err, o.helperPath)
		}
	}
	if err != nil {
		o.dismiss()
		home.Remove()
		home.Close()
		o.site = site{}
	}
	return err
}

// transient reports whether another try may work.
func transient(err error) bool {
	for _, errno := range []syscall.Errno{unix.EMFILE, unix.ENFILE, unix.ENOMEM, unix.EAGAIN, unix.ENOSPC} {
		if errors.Is(err, errno) {
			return true
		}
	}
	return false
}

// hire starts the guard, which has its end of the line from the moment it exists.
// hire does not wait for its program to come up.
//
// The first guard, or a child of it, is born in the owner's directory. That shows
// whether runs can be born there too: the call may be forbidden, or the directory's
// type may not allow it. Later guards are born beside it: what commands have done
// to the directory must not stop them. So is the first one if the directory hands
// controllers on, as then no process may be in it.
func (o *ownerDir) hire(first bool) error {
	o.hired = time.Now()
	err := errAbandoned
	if !first && !o.counts || !o.siblingsAbandoned() {
		err = o.forkGuard(first)
	}
	if err != nil {
		err = o.startGuard(first)
	}
	if err != nil {
		return fmt.Errorf("start a process in %s: %w", o.home.Path(), err)
	}
	return nil
}

var errAbandoned = errors.New("there are directories that another owner has left")

// siblingsAbandoned reports whether there are directories beside home that owner
// and guard have left. A guard that is a program clears them.
func (o *ownerDir) siblingsAbandoned() bool {
	names, _ := o.around.Names()
	return slices.ContainsFunc(names, func(name string) bool {
		if !strings.HasPrefix(name, wire.HomePrefix) || name == filepath.Base(o.home.Path()) {
			return false
		}
		dir, err := o.around.Below(name)
		if err != nil {
			return false
		}
		defer dir.Close() // with the lock
		locked, err := dir.Lock()
		return err == nil && locked && dir.Marked()
	})
}

// forkGuard starts a guard that executes nothing, which takes a fraction of the
// time.
func (o *ownerDir) forkGuard(first bool) error {
	if err := stub.Usable(); err != nil {
		return err
	}
	program, err := helper.Program(o.helperPath)
	if err != nil {
		return err
	}
	ours, theirs, err := helper.Line(wire.GuardRole)
	if err != nil {
		return err
	}
	defer theirs.Close()
	args := []string{wire.GuardRole, o.home.Path()}
	if o.helperPath != "" {
		args = append(args, helper.NamedByOwner)
	}
	pid, err := stub.StartGuard(&bare.GuardSpec{
		Home: o.home.FD(), Base: filepath.Base(o.home.Path()), TryBirth: first,
		Identity: stub.Identity(wire.GuardRole, int(theirs.Fd())), Helper: program, HelperEnv: helper.Environ(), HelperArgs: args,
	})
	if err != nil {
		ours.Close()
		return err
	}
	guard, err := os.FindProcess(pid)
	if err != nil {
		ours.Close() // at which it ends
		return err
	}
	o.guard, o.line = guard, ours
	return nil
}

// startGuard starts a guard that is the program once more.
func (o *ownerDir) startGuard(first bool) error {
	fd, err := unix.FcntlInt(uintptr(o.home.FD()), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("dup", err)
	}
	home := os.NewFile(uintptr(fd), o.home.Path())
	defer home.Close()
	// When this process dies, the signal wakes a guard that has been stopped.
	attr := &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGCONT}
	if first {
		attr.UseCgroupFD, attr.CgroupFD = true, o.home.FD()
	}
	o.guard, o.line, err = helper.Start(o.helperPath, wire.GuardRole, []string{o.home.Path()}, attr, home)
	return err
}

// guardIsUp waits until the guard has all that it needs to stop runs, and reports
// whether it has: a command may take every thread and process that there is as soon
// as it starts. Some kernels kill whatever is born in a cgroup other than its
// parent's, if the parent's has ever been killed by cgroup.kill.
func (o *ownerDir) guardIsUp() bool {
	const patience = 5 * time.Second
	for range 3 {
		if helper.Readable(o.line, patience) {
			o.line.SetReadDeadline(time.Now().Add(patience))
			n, _ := o.line.Read(make([]byte, 1))
			o.line.SetReadDeadline(time.Time{})
			if n == 1 {
				return true
			}
		}
		// Somebody may have killed it, or it lacks what a guard without a runtime
		// needs. One that is alive would clear the directory in which the next one is
		// about to be born.
		o.guard.Kill()
		o.dismiss()
		if o.startGuard(!o.counts) != nil {
			return false
		}
	}
	return false
}

// dismiss gives up a guard that has ended or is about to.
func (o *ownerDir) dismiss() {
	if o.line != nil {
		go endGuard(o.guard, o.line)
		o.line, o.guard = nil, nil
	}
}

// endGuard closes a guard's line, at which it ends, and reaps it. It kills a guard
// that does not end in time: somebody may stop it again and again, or what it
// clears away takes too long.
func endGuard(guard *os.Process, line *os.File) {
	if line == nil {
		return
	}
	line.Close()
	const patience = 30 // seconds
	for range patience {
		guard.Signal(syscall.SIGCONT)
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		err := child.AwaitExit(ctx, guard, guard.Pid)
		cancel()
		if err == nil {
			break
		}
	}
	guard.Kill()
	guard.Wait()
}

// guardPID is the guard's PID, or 0 if there is none.
func (o *ownerDir) guardPID() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.guard == nil {
		return 0
	}
	return o.guard.Pid
}

// guardLine returns the line to the guard, or if there is no guard, in how many
// milliseconds to try for another.
func (o *ownerDir) guardLine() (line *os.File, again int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.line != nil || o.home == nil {
		return o.line, -1
	}
	return nil, max(1, int(time.Until(o.hired.Add(o.pause))/time.Millisecond)+1)
}

// replace replaces the guard that had the given line, unless another caller has, or
// has just tried. It returns why there is no guard.
//
// The pause grows with each try, until a guard has lived for a second.
func (o *ownerDir) replace(line *os.File) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.home == nil || o.line != nil && o.line != line {
		return nil
	}
	const longest = 5 * time.Second
	age := time.Since(o.hired)
	if o.line != nil && age > time.Second {
		o.pause = 0
	}
	o.dismiss()
	if age < o.pause {
		if o.unguarded == nil {
			o.unguarded = errors.New("somebody ends the guard again and again")
		}
		return o.unguarded
	}
	o.pause = min(max(2*o.pause, time.Millisecond), longest)
	o.unguarded = o.hire(false)
	return o.unguarded
}
