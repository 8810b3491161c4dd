package corral

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/corral-run/corral/internal/daemons"
	"github.com/corral-run/corral/internal/detach"
	"github.com/corral-run/corral/internal/hold"
	"github.com/corral-run/corral/internal/proctree"
)

// KeepPrograms returns a function for Cmd.Keep that keeps processes by the program
// that they execute. Each pattern is one of path.Match: with a slash in it, for the
// whole path, else for the last element. The word "daemons" stands for well-known
// programs that go into the background on purpose; docs/keep.md lists them. (A
// program of that name is [d]aemons.)
//
// A script has the path of its interpreter. A process whose executable may not be
// read is not kept. A pattern without a slash is met by any file of that name,
// whoever has made it.
func KeepPrograms(patterns ...string) (func(Process) bool, error) {
	match, err := daemons.Matcher(patterns)
	if err != nil {
		return nil, fmt.Errorf("corral: KeepPrograms: %w", err)
	}
	return func(p Process) bool {
		return match(proctree.ID{PID: p.PID, Start: p.Start}, p.Executable)
	}, nil
}

// keepPatience bounds the time that Cmd.Keep may take, for all processes together.
const keepPatience = 5 * time.Second

// sortLeftovers asks Cmd.Keep, once for a run, and lets go of those that it wants to
// keep.
func (r *run) sortLeftovers() {
	if r.cmd.Keep != nil {
		r.sorted.Do(r.sort)
	}
}

// sort takes keepPatience at most. A Keep that has not returned by then is left
// behind, and its answer does not count.
func (r *run) sort() {
	r.using.RLock()
	defer r.using.RUnlock()
	if r.closed {
		return
	}
	late, tooLate := time.NewTimer(keepPatience), false
	defer late.Stop()
	asked := make(map[proctree.ID]Process)
	over := func() bool { return tooLate || r.unask.Load() }
	spared, err := hold.Sort(r.cont, r.leader, keepPatience, over, func(row proctree.Process) bool {
		p := known(row)
		asked[row.ID] = p
		answer := make(chan bool, 1)
		go func() { answer <- r.cmd.Keep(p) }()
		select {
		case keep := <-answer:
			return keep
		case <-late.C:
			tooLate = true
			return false
		}
	})
	if tooLate {
		r.log.Warn("corral: Keep takes too long; nobody else is kept", "patience", keepPatience)
	}
	if err != nil {
		r.log.Warn("corral: not all could be kept", "error", err)
	}
	for _, row := range spared {
		p, ok := asked[row.ID]
		if !ok {
			p = known(row)
		}
		r.log.Debug("corral: kept", "process", p.String())
		r.addSpared(Leftover{Process: p, Fate: Kept})
	}
}

// known is a process as the kernel knows it.
func known(row proctree.Process) Process {
	p := describe([]proctree.Process{row})[0]
	p.Executable = proctree.Executable(row.ID)
	return p
}

func (r *run) addSpared(l Leftover) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.spared = append(r.spared, l)
}

// leavesSome reports whether somebody who is left alone may hold a pipe.
func (r *run) leavesSome() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.cmd.Leftovers.keeps() && r.stop == nil || len(r.spared) > 0
}

// unwanted are the leftovers without those that have been let go of on purpose.
func unwanted(all []Leftover) []Leftover {
	return slices.DeleteFunc(slices.Clone(all), func(l Leftover) bool { return l.Fate == Kept || l.Fate == Detached })
}

// openDoor opens the door for members that leave by themselves, and tells the command
// of it in its environment.
func (r *run) openDoor() (err error) {
	if !r.cmd.AllowDetach {
		return nil
	}
	if r.door, err = detach.Open(); err != nil {
		return fmt.Errorf("corral: AllowDetach: %w", err)
	}
	r.inner.Env = append(r.inner.Environ(), detach.Variable+"="+r.door.Address())
	return nil
}

// serveDoor lets out who comes to the door. It is called once there is a leader.
func (r *run) serveDoor() {
	if r.door == nil {
		return
	}
	var names sync.Map // of the processes that the leavers have started, by leaver
	r.door.Serve(detach.Doorkeeper{
		Leave: r.leave,
		Left: func(leaver, started proctree.Process) {
			if _, again := names.LoadOrStore(leaver.ID, true); !again {
				r.addSpared(Leftover{Process: known(started), Fate: Detached})
			}
		},
	})
}

// leave lets go of a member that has asked for it.
func (r *run) leave(leaver proctree.ID) error {
	r.using.RLock()
	defer r.using.RUnlock()
	if r.closed {
		return errors.New("the run is over")
	}
	r.mu.Lock()
	stopping := r.stop != nil || r.noMoreStops || r.unask.Load()
	r.mu.Unlock()
	switch {
	case stopping:
		return errors.New("the run is being stopped")
	case leaver == r.leader:
		return errors.New("it is the run's own command, which cannot leave it")
	}
	rows, err := r.cont.Members()
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(rows, func(p proctree.Process) bool { return p.ID == leaver }) {
		return errors.New("it is not a member of the run")
	}
	return r.cont.Spare(leaver)
}
