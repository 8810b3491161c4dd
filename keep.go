package corral

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/corral-run/corral/internal/daemons"
	"github.com/corral-run/corral/internal/detach"
	"github.com/corral-run/corral/internal/hold"
	"github.com/corral-run/corral/internal/proctree"
	"github.com/corral-run/corral/internal/stop"
)

// spares reports whether something may stay when the run is over, by Keep or at its
// own request.
func (c *Cmd) spares() bool { return c.Keep != nil || c.AllowDetach }

// KeepPrograms returns a function for Cmd.Keep that keeps processes by the program
// that they execute. Each pattern is one of path.Match: with a slash in it, for the
// whole path, else for the last element. The word "daemons" stands for well-known
// programs that go into the background on purpose; docs/keep.md lists them. (A
// program of that name is [d]aemons.)
//
// A script has the path of its interpreter, and a command of busybox that of busybox.
// A process whose executable may not be
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

// sort takes keepPatience at most, and ends at once when nobody is to be asked about
// any more. A Keep that has not returned by then is left behind, and its answer does
// not count.
func (r *run) sort() {
	r.using.RLock()
	defer r.using.RUnlock()
	if r.closed {
		return
	}
	ctx, cancel := context.WithTimeout(r.asking, keepPatience)
	defer cancel()
	asked := make(map[proctree.ID]Process)
	spared, err := hold.Sort(ctx, hasty{r.cont, ctx, &r.looks}, r.leader, func(row proctree.Process) bool {
		p, keep, answered := ask(ctx, row, known, r.cmd.Keep)
		if answered {
			asked[row.ID] = p
		}
		return keep
	})
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		r.log.Warn("corral: Keep takes too long; nobody else is kept", "patience", keepPatience)
	}
	if err != nil {
		r.log.Warn("corral: not all could be kept", "error", err)
	}
	unasked := slices.DeleteFunc(slices.Clone(spared), func(row proctree.Process) bool { _, ok := asked[row.ID]; return ok })
	for _, p := range soon(unasked, known) {
		asked[proctree.ID{PID: p.PID, Start: p.Start}] = p
	}
	for _, row := range spared {
		kept := Leftover{Process: asked[row.ID], Fate: Kept}
		r.addSpared(kept)
		r.events.settle([]Leftover{kept})
	}
	r.listKept()
}

// hasty is a containment in which looks end when ctx is done. What goes on of one then
// is counted.
type hasty struct {
	hold.Containment
	ctx context.Context
	on  *sync.WaitGroup
}

func (h hasty) Members() ([]proctree.Process, error) {
	seen := make(chan stop.Sight, 1)
	h.on.Go(func() {
		rows, err := h.Containment.Members()
		seen <- stop.Sight{Members: rows, Err: err}
	})
	select {
	case s := <-seen:
		return s.Members, s.Err
	case <-h.ctx.Done():
		return nil, h.ctx.Err()
	}
}

// ask asks whether to keep a process, until ctx is done. Who the process is may take
// as long to find out as it likes: see known.
func ask(ctx context.Context, row proctree.Process, know func([]proctree.Process) []Process, keep func(Process) bool) (p Process, yes, answered bool) {
	who, answer := make(chan Process, 1), make(chan bool, 1)
	go func() {
		p := know([]proctree.Process{row})[0]
		who <- p
		answer <- keep(p)
	}()
	select {
	case yes := <-answer:
		return <-who, yes, true
	case <-ctx.Done():
		return Process{}, false, false
	}
}

// known are processes as the kernel knows them, by PID. This may take for ever: an
// executable may be on a file system that a member serves.
func known(rows []proctree.Process) []Process {
	all := describe(rows)
	for i, p := range all {
		all[i].Executable = proctree.Executable(proctree.ID{PID: p.PID, Start: p.Start})
	}
	return all
}

// executed is the row with what detail adds, again until that has a command line. One
// that has just been started has none for a moment: the kernel has closed the
// descriptors that execve closes, which tells who has started it, and does not know its
// new arguments yet.
func executed(row proctree.Process, detail func(proctree.Process) proctree.Process) proctree.Process {
	for range 100 {
		if detailed := detail(row); len(detailed.Args) > 0 {
			return detailed
		}
		if _, live := proctree.Live(row.ID); !live {
			break
		}
		time.Sleep(time.Millisecond)
	}
	return detail(row)
}

// soon is what know says of the processes, or only what the rows have if that takes too
// long.
func soon(rows []proctree.Process, know func([]proctree.Process) []Process) (all []Process) {
	if len(rows) == 0 {
		return nil
	}
	seen := make(chan []Process, 1)
	go func() { seen <- know(rows) }()
	late := time.NewTimer(2 * stop.LookPatience) // describe takes one
	defer late.Stop()
	select {
	case all = <-seen:
	case <-late.C:
		for _, row := range rows {
			all = append(all, Process{PID: row.PID, Start: row.Start, Command: row.Command()})
		}
	}
	return all
}

func (r *run) addSpared(l Leftover) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.spared = append(r.spared, l)
}

// nameSpared gives one who has left by itself the name of what it has started. It does
// so once.
func (r *run) nameSpared(leaver proctree.ID, started Process) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i, l := range r.spared {
		if l.Fate == Detached && l.PID == leaver.PID && l.Start == leaver.Start {
			r.spared[i].Process = started
			r.events.settle(r.spared[i : i+1])
		}
	}
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
// of it in its environment. Where there is no door, the command does not get to know
// that of a run around this one.
func (r *run) openDoor() (err error) {
	if !r.cmd.AllowDetach {
		r.inner.Env = detach.Hide(r.inner)
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
	r.door.Serve(detach.Doorkeeper{
		Leave: r.leave,
		Left: func(leaver, started proctree.Process) {
			r.nameSpared(leaver.ID, soon([]proctree.Process{started}, func(rows []proctree.Process) []Process {
				return known([]proctree.Process{executed(rows[0], proctree.Detail)})
			})[0])
			r.listKept()
		},
	})
}

// leave lets go of a member that has asked for it. For the Report it is what has left,
// until it says what it has started.
func (r *run) leave(leaver proctree.ID) error {
	row, err := r.openTo(leaver)
	if err == nil {
		r.addSpared(Leftover{Process: soon([]proctree.Process{row}, known)[0], Fate: Detached})
		r.listKept()
	}
	return err
}

// openTo lets go of a member and returns its row.
func (r *run) openTo(leaver proctree.ID) (row proctree.Process, err error) {
	r.using.RLock()
	defer r.using.RUnlock()
	if r.closed {
		return row, errors.New("the run is over")
	}
	r.mu.Lock()
	stopping := r.stop != nil || r.noMoreStops || r.asking.Err() != nil
	r.mu.Unlock()
	switch {
	case stopping:
		return row, errors.New("the run is being stopped")
	case leaver == r.leader:
		return row, errors.New("it is the run's own command, which cannot leave it")
	}
	rows, err := r.cont.Members()
	if err != nil {
		return row, err
	}
	i := slices.IndexFunc(rows, func(p proctree.Process) bool { return p.ID == leaver })
	if i < 0 {
		return row, errors.New("it is not a member of the run")
	}
	if err := r.cont.MayLeave(leaver); err != nil {
		return row, err
	}
	return rows[i], r.cont.Spare(leaver)
}
