package hold

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/corral-run/corral/internal/helper"
	"github.com/corral-run/corral/internal/proctree"
)

// Sparing is what a containment that can let go of single processes has for that.
// They are not members any more: no signal, no kill, and no end of the owner reaches
// them.
type Sparing interface {
	// Still keeps the members from forking, where the kernel can do that, and
	// returns what lets them go on. It does not wait longer than until ctx is done.
	Still(ctx context.Context) (goOn func())

	// MayLeave returns why a member cannot leave the run by itself: it would remain in
	// another one, inside this one.
	MayLeave(id proctree.ID) error

	// Spare lets go of a process, with all that it starts from now on.
	Spare(id proctree.ID) error

	// Without returns those of the rows that have not been let go of. The rows are
	// all below the owner or a helper of its.
	Without(rows []proctree.Process) []proctree.Process
}

// SparesNobody is for a containment that lets go of all or of none.
type SparesNobody struct{}

func (SparesNobody) Still(context.Context) func()                       { return func() {} }
func (SparesNobody) MayLeave(proctree.ID) error                         { return errors.ErrUnsupported }
func (SparesNobody) Spare(proctree.ID) error                            { return errors.ErrUnsupported }
func (SparesNobody) Without(rows []proctree.Process) []proctree.Process { return rows }

// Sort asks of each member but the leader whether it is to be let go of, and lets go
// of those, with all that is below them, or in a session that one of them leads
// (setsid(2)): who is in it was started by its leader. It asks once for each process, from the top
// down, and not for one below a process that it has let go of. It asks for no helper
// of another run: that one ends with its owner.
//
// It looks again until a look finds nobody new, as members may fork meanwhile, but
// only until ctx is done. Whoever has been let go of by then is in the result, also if there is an error.
func Sort(ctx context.Context, c Containment, leader proctree.ID, ask func(proctree.Process) bool) (spared []proctree.Process, err error) {
	over := func() bool { return ctx.Err() != nil }
	settle(c, over)
	if over() {
		return nil, nil
	}
	defer c.Still(ctx)()
	var errs []error
	s := sorting{asked: make(map[proctree.ID]bool), kept: make(map[int]proctree.ID)}
	for !over() {
		rows, err := c.Members()
		if err != nil {
			return spared, err
		}
		fresh := s.pass(rows, func(p proctree.Process) bool { return p.ID != leader && !over() && !helper.Is(p) && ask(p) })
		for _, row := range fresh {
			if over() {
				break
			}
			if err := c.Spare(row.ID); err != nil {
				errs = append(errs, err)
				continue
			}
			spared = append(spared, row)
		}
		if !s.grown {
			break
		}
	}
	return spared, errors.Join(errs...)
}

// settle waits for members that have just been forked, most likely to execute a
// program: by that they are told. A process older than that is told by what it is.
func settle(c Containment, over func() bool) {
	const young, pause = 100 * time.Millisecond, 2 * time.Millisecond
	for began := time.Now(); time.Since(began) < young && !over(); time.Sleep(pause) {
		rows, err := c.Members()
		if err != nil || !slices.ContainsFunc(rows, func(p proctree.Process) bool { return proctree.AboutToExecute(p.ID, young) }) {
			return
		}
	}
}

// sorting is what Sort has found out so far.
type sorting struct {
	asked map[proctree.ID]bool
	kept  map[int]proctree.ID // by PID
	grown bool                // the last pass has met somebody new
}

// pass asks for those of the rows that are new, and returns whom to let go of.
func (s *sorting) pass(rows []proctree.Process, ask func(proctree.Process) bool) (fresh []proctree.Process) {
	s.grown = false
	for _, row := range topDown(rows) {
		if s.asked[row.ID] {
			continue
		}
		s.asked[row.ID], s.grown = true, true
		if s.under(row.PPID) || s.under(row.SID) || ask(row) {
			s.kept[row.PID] = row.ID
			fresh = append(fresh, row)
		}
	}
	return fresh
}

// under reports whether a process of that PID, a parent or the leader of a session,
// has been let go of.
func (s *sorting) under(pid int) bool {
	id, kept := s.kept[pid]
	return kept && proctree.Same(id)
}

// topDown returns the rows so that parents, and the leaders of sessions, come first.
func topDown(rows []proctree.Process) (sorted []proctree.Process) {
	rows = slices.Clone(rows)
	slices.SortFunc(rows, func(a, b proctree.Process) int { return a.PID - b.PID })
	known := make(map[int]bool, len(rows))
	for _, row := range rows {
		known[row.PID] = true
	}
	placed := make(map[int]bool, len(rows))
	for len(rows) > 0 {
		before := len(sorted)
		rows = slices.DeleteFunc(rows, func(row proctree.Process) bool {
			now := (!known[row.PPID] || placed[row.PPID]) && (row.SID == row.PID || !known[row.SID] || placed[row.SID])
			if now {
				sorted = append(sorted, row)
			}
			return now
		})
		if len(sorted) == before { // a circle, as PIDs have begun again during the look
			return append(sorted, rows...)
		}
		for _, row := range sorted[before:] {
			placed[row.PID] = true
		}
	}
	return sorted
}
