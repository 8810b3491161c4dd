package cgroups

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/corral-run/corral/internal/cgroup"
	"github.com/corral-run/corral/internal/kept"
	"github.com/corral-run/corral/internal/proctree"
	"github.com/corral-run/corral/internal/wire"
)

// spared is the directory, beside the run's, of those that the run has let go of. A
// guard takes it for a run that is to outlive its owner: it does not stop it, but
// moves all in it to where they would have been without Corral. So does the owner at
// the end of the run. Meanwhile the kernel knows who is in it: no process gets into
// another's control group by itself. Who leaves the run around this one as well is in a
// directory of that one then, and is known by what it is.
type spared struct {
	mu   sync.Mutex
	dir  *cgroup.Dir
	gone kept.Set
}

func (c *containment) Still(ctx context.Context) (goOn func()) {
	thaw, err := c.dir.Freeze(ctx)
	if err != nil { // see Sort, which looks again
		return func() {}
	}
	return thaw
}

// MayLeave refuses one that is in another owner's run below this one's directory: moved
// out of that, it would be in neither. One that the other run has let go of is in a
// directory of those who are to outlive it.
func (c *containment) MayLeave(id proctree.ID) error {
	names, err := c.dir.Between(id.PID)
	if err != nil {
		return err
	}
	for i, name := range names {
		if strings.HasPrefix(name, wire.HomePrefix) && i+1 < len(names) && !wire.IsDetached(names[i+1]) {
			return errors.New("it is in a run inside this one, which does not allow it")
		}
	}
	return nil
}

func (c *containment) Spare(id proctree.ID) error {
	s := &c.spared
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.dir == nil {
		dir, err := c.owner.addDetached()
		if err != nil {
			return err
		}
		s.dir = dir
	}
	if !proctree.Same(id) {
		return nil
	}
	if err := s.dir.Admit(id.PID); err != nil {
		return err
	}
	if row, err := proctree.Brief(id.PID); err == nil && row.ID != id {
		return fmt.Errorf("cgroup: process %d ended when it was let go of, and another one has its PID, which may have been let go of", id.PID)
	}
	s.gone.Add(id)
	return nil
}

// addDetached makes a directory for processes that are to outlive the owner.
func (o *ownerDir) addDetached() (*cgroup.Dir, error) {
	plan, err := wire.EncodePlan(nil, true)
	if err != nil {
		return nil, err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.home == nil {
		return nil, errors.New("the owner's control group is gone")
	}
	dir, err := o.add(plan)
	if err != nil {
		return nil, err
	}
	if err := dir.HoldEntry(); err != nil {
		discard(dir)
		return nil, fmt.Errorf("cgroup: %w", err)
	}
	return dir, nil
}

// Without is called with all rows that are not members.
func (c *containment) Without(rows []proctree.Process) []proctree.Process {
	s := &c.spared
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.dir == nil || len(rows) == 0 {
		return rows
	}
	s.gone.Prune(rows)
	rows = s.gone.Members(rows)
	pids, err := s.dir.PIDs()
	if err != nil { // then nobody is taken for one of them
		return rows
	}
	return slices.DeleteFunc(slices.Clone(rows), func(p proctree.Process) bool { return slices.Contains(pids, p.PID) })
}

// close moves those that have been let go of to where they would have been without
// Corral. If that fails, the directory stays: the guard tries again when the owner
// has ended, and kills nobody in it.
func (s *spared) close(owner *ownerDir) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.dir == nil {
		return
	}
	owner.letGo(s.dir)
	discard(s.dir)
	s.dir = nil
}
