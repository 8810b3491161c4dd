package guard

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/corral-run/corral/internal/cgroup"
	"github.com/corral-run/corral/internal/helper"
	"github.com/corral-run/corral/internal/proctree"
	"github.com/corral-run/corral/internal/stop"
	"github.com/corral-run/corral/internal/wire"
	"github.com/corral-run/corral/internal/wire/code"
	"golang.org/x/sys/unix"
)

func init() { helper.Role(wire.GuardRole, run) }

func run(owner helper.Owner) {
	helper.PrepareRuntime()
	proctree.KeepOpen() // without /proc it sees less, and kills all the same
	const homeFD = 3
	unix.CloseOnExec(homeFD)
	helper.CloseInherited()
	os.Chdir("/")
	home := cgroup.FromFD(homeFD, os.Args[1])
	home.Hold() // if that fails, it is tried again when it is needed
	leave(home)
	unix.Write(0, []byte{code.GuardReady})
	helper.Hurry() // at once: members may keep the scheduler from this process when it counts
	helper.MakeRoom()
	var clearing sync.WaitGroup
	clearing.Go(func() { clearAbandoned(home.Path()) })
	owner.Await(0)
	helper.LiftFileLimit()
	leave(home)
	clear(home)
	clearing.Wait()
}

// leave moves this process to the owner's own control group, if somebody has put it
// into home: whatever is left in that then is to be stopped. A move waits for an RCU
// grace period (cgroup_procs_write_start in kernel/cgroup/cgroup.c), and members that
// fork all the time make that last for seconds.
func leave(home *cgroup.Dir) {
	if inside, err := home.Holds(); err == nil && !inside {
		return
	}
	os.WriteFile(filepath.Join(filepath.Dir(home.Path()), "cgroup.procs"), []byte("0"), 0)
}

// clearAbandoned clears the directories beside home that are Corral's and that
// nobody has locked.
func clearAbandoned(home string) {
	parent, err := cgroup.Open(filepath.Dir(home))
	if err != nil {
		return
	}
	defer parent.Close()
	names, _ := parent.Names()
	var left []*cgroup.Dir
	for _, name := range names {
		if !strings.HasPrefix(name, wire.HomePrefix) || name == filepath.Base(home) {
			continue
		}
		dir, err := parent.Below(name)
		if err != nil {
			continue
		}
		if locked, err := dir.Lock(); err == nil && locked && dir.Marked() {
			left = append(left, dir)
		} else {
			dir.Close()
		}
	}
	clear(left...)
	for _, dir := range left {
		dir.Close()
	}
}

// clear stops the runs in the homes, each by its plan, lets go of those that are to
// go on, and removes the homes.
//
// One loop serves all runs: the machine may be out of threads and of descriptors,
// and a thread for each run would need both. Nothing in the loop waits for a single
// run.
func clear(homes ...*cgroup.Dir) {
	var runs []*doomed
	detached := make(map[*cgroup.Dir][]string)
	for _, home := range homes {
		home.Thaw()
		names, _ := home.Names()
		for _, name := range names {
			if wire.IsDetached(name) {
				detached[home] = append(detached[home], name)
			} else {
				runs = append(runs, &doomed{home: home, name: name, plan: wire.DecodePlan(name)})
			}
		}
	}
	const shortest, longest = time.Millisecond, 100 * time.Millisecond // between two looks, unless all is over before
	for pause := shortest; ; pause = min(2*pause, longest) {
		now := time.Now()
		wake := now.Add(pause)
		runs = slices.DeleteFunc(runs, func(r *doomed) bool {
			over := r.advance(now)
			if r.due.Before(wake) {
				wake = r.due
			}
			return over
		})
		if len(runs) == 0 {
			break
		}
		homes[0].Pause(int(max(0, time.Until(wake)).Milliseconds()) + 1)
	}
	for _, home := range homes {
		keep := false
		for _, name := range detached[home] {
			keep = !letGo(home, name) || keep
		}
		if !keep {
			home.Kill() // whatever sits in home itself escaped from a run
		}
		home.Remove()
	}
}

// letGo moves a run that is to go on to where it would have been without Corral,
// and reports whether nobody is left in its directory. If somebody is, the
// directory stays, for a later owner's guard to try again.
func letGo(home *cgroup.Dir, name string) bool {
	dir, err := home.Below(name)
	if err != nil {
		return errors.Is(err, os.ErrNotExist)
	}
	defer dir.Close()
	parent, err := cgroup.Open(filepath.Dir(home.Path()))
	if err != nil {
		return false
	}
	defer parent.Close()
	err = dir.MoveTo(parent)
	if errors.Is(err, unix.EBUSY) {
		err = moveToOwn(dir)
	}
	return err == nil
}

// moveToOwn moves a run that is to go on to where this process is. That is where the
// owner was, if its home is in a control group that hands controllers on, and may have
// no process of its own then.
func moveToOwn(dir *cgroup.Dir) error {
	path, err := cgroup.Own()
	if err != nil {
		return err
	}
	own, err := cgroup.Open(path)
	if err != nil {
		return err
	}
	defer own.Close()
	return dir.MoveTo(own)
}

// doomed is a run that has lost its owner.
type doomed struct {
	home   *cgroup.Dir
	name   string
	plan   stop.Plan // what is left of it
	due    time.Time // when the next step is due
	killed bool
}

// advance takes the steps that are due and reports whether nothing is left to do.
// It opens the directory each time, as there may be more directories than
// descriptors. If that fails throughout, the kill of home has the last word.
func (r *doomed) advance(now time.Time) (over bool) {
	dir, err := r.home.Below(r.name)
	if err == nil {
		defer dir.Close()
		var populated bool
		populated, err = dir.Populated()
		if err == nil && !populated {
			return true
		}
	}
	if errors.Is(err, os.ErrNotExist) {
		return true
	}
	if r.killed && dir != nil {
		dir.KillRest()
	}
	for !now.Before(r.due) {
		switch {
		case r.killed:
			return true
		case len(r.plan) == 0 || r.plan[0].Signal == os.Kill:
			r.killed, r.due = true, time.Now().Add(stop.KillPatience)
			if dir != nil {
				dir.Kill()
			}
		default:
			step := r.plan[0]
			r.plan = r.plan[1:]
			// That nobody was there to be signalled proves nothing: see
			// Stopper.takeStep.
			var err error
			if dir != nil {
				err = dir.Signal(step.Signal, unix.SIGCONT)
			}
			if err == nil || errors.Is(err, os.ErrProcessDone) {
				r.due = time.Now().Add(step.Wait)
			}
		}
	}
	return false
}
