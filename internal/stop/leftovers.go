package stop

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"time"

	"github.com/corral-run/corral/internal/helper"
	"github.com/corral-run/corral/internal/proctree"
)

// What became of a member.
const (
	Signalled = "signalled" // it ended during a step of the plan
	Forced    = "forced"    // the containment's kill was needed
	Survived  = "survived"  // it could not be killed; Reason says why
	Ended     = "ended"     // by itself, when it was due to be killed but may not be
)

// Leftover is a member that a stop has seen, and what became of it. The leader is
// one only if it could not be stopped.
type Leftover struct {
	proctree.ID
	Command []string
	Fate    string
	Signal  string // in whose step it ended, such as "SIGTERM", if it was signalled
	Reason  string // why it survived
	Name    string // the kernel's short one
}

func leftoverOf(row proctree.Process) Leftover {
	return Leftover{ID: row.ID, Command: row.Command(), Name: row.Name}
}

// Sight is what a look has seen.
type Sight struct {
	Members []proctree.Process
	Err     error
}

// Look is a look that goes on. The zero value is none.
type Look struct {
	Seen  <-chan Sight
	Began time.Time
}

// late reports whether the look has had its time, and has seen nothing yet.
func (l Look) late() bool {
	return l.Seen != nil && len(l.Seen) == 0 && time.Since(l.Began) >= LookPatience
}

// look records the members, so that the Report can name them once they are gone,
// and reports whether there are none. Those that an earlier look saw and this one
// does not have met the given fate.
//
// It takes no longer than patience. What it has not seen by then, the next look
// records.
func (s *Stopper) look(fate string, signal string, patience time.Duration) (none bool) {
	if s.silent {
		return false // the next step finds out
	}
	enough := time.NewTimer(patience)
	defer enough.Stop()
	var seen Sight
	for fresh := false; !fresh; { // what an earlier look has seen may be gone
		if fresh = s.Looking.Seen == nil; fresh {
			seen := make(chan Sight, 1)
			s.Looking = Look{seen, time.Now()}
			s.busy.Go(func() {
				rows, err := s.cont.Members()
				seen <- Sight{rows, err}
			})
		}
		select {
		case seen = <-s.Looking.Seen:
			s.Looking = Look{}
			if s.record(seen, fate, signal) {
				return true
			}
		case <-enough.C:
			s.LookErr = fmt.Errorf("a look at the members takes more than %v", LookPatience)
			s.watch.members = unknown
			return false
		}
	}
	s.recordNames(seen.Members, enough.C)
	s.tellMet(false)
	return false
}

// lookPatience is how long a signal waits for a look. One that has been waited for
// already, and still goes on, puts off no other signal.
func (s *Stopper) lookPatience() time.Duration {
	if s.Looking.late() {
		return 0
	}
	return LookPatience
}

// nameAge is how old the name of a member may be that has executed something else
// since. To read them all once more takes long, as they are in the members' memory.
const nameAge = 100 * time.Millisecond

// recordNames records the command lines of the members.
func (s *Stopper) recordNames(rows []proctree.Process, enough <-chan time.Time) {
	rows = slices.DeleteFunc(rows, func(p proctree.Process) bool {
		return p.Args == nil && time.Since(s.named[p.ID]) < nameAge
	})
	for fresh := len(rows) == 0; !fresh; {
		if fresh = s.naming == nil; fresh {
			s.naming = detailing(rows)
		}
		select {
		case rows := <-s.naming:
			s.naming = nil
			s.rename(rows)
		case <-enough:
			return
		}
	}
}

// detailing returns a channel that gets the rows with their details. A process can
// keep whoever reads its details waiting for as long as it lives.
func detailing(rows []proctree.Process) <-chan []proctree.Process {
	done := make(chan []proctree.Process, 1)
	go func() { done <- proctree.Details(rows) }()
	return done
}

// WithDetails returns the rows with their details, or as they are if that takes too
// long.
func WithDetails(rows []proctree.Process) []proctree.Process {
	if !slices.ContainsFunc(rows, func(p proctree.Process) bool { return p.Args == nil }) {
		return rows
	}
	enough := time.NewTimer(LookPatience)
	defer enough.Stop()
	select {
	case rows = <-detailing(rows):
	case <-enough.C:
	}
	return rows
}

// rename updates the command lines of leftovers, and notes which are helpers. The
// command of another run bears its keeper's name until it executes its program.
func (s *Stopper) rename(rows []proctree.Process) {
	commands, now := make(map[proctree.ID][]string, len(rows)), time.Now()
	for _, row := range rows {
		if len(row.Args) > 0 {
			commands[row.ID], s.named[row.ID] = row.Args, now
		}
		if is := helper.Is(row); is || len(row.Args) > 0 {
			s.helpers[row.ID] = is
		}
	}
	s.watch.looked(rows)
	for i := range s.Leftovers {
		if args := commands[s.Leftovers[i].ID]; args != nil {
			s.Leftovers[i].Command = args // it may have executed something else
		}
	}
}

// record records what a look has seen, and reports whether that is nobody.
func (s *Stopper) record(seen Sight, fate string, signal string) (none bool) {
	s.LookErr = seen.Err
	if seen.Err != nil {
		s.watch.members = unknown
		s.log.Warn("corral: cannot list the members", "error", seen.Err)
		return false
	}
	there := make(map[proctree.ID]Leftover, len(seen.Members))
	s.LeaderAlive = false
	for _, row := range seen.Members { // one may be listed twice
		if row.PID == s.leader {
			s.LeaderAlive, s.leaderSeen = true, leftoverOf(row)
		} else {
			there[row.ID] = leftoverOf(row)
		}
	}
	s.watch.members = len(there)
	if s.LeaderAlive {
		s.watch.members++
	}
	for i := range s.Leftovers {
		l := &s.Leftovers[i]
		if _, alive := there[l.ID]; alive {
			delete(there, l.ID) // known already
		} else if l.Fate == "" {
			s.setFate(l, fate, signal)
		}
	}
	fresh := slices.Collect(maps.Values(there))
	slices.SortFunc(fresh, func(a, b Leftover) int { return a.PID - b.PID })
	s.Leftovers = append(s.Leftovers, fresh...)
	return len(seen.Members) == 0
}

// dropHelpers drops the helpers of other runs, whose owners were members of this
// one, unless they have survived: the command did not leave them.
func (s *Stopper) dropHelpers() {
	s.Leftovers = slices.DeleteFunc(s.Leftovers, func(l Leftover) bool {
		return l.Fate != Survived && s.helpers[l.ID]
	})
}

// recordLate records the looks that nobody has waited for: for the Report, a late
// look is better than none.
func (s *Stopper) recordLate() {
	if s.Looking.Seen == nil && s.naming == nil {
		return
	}
	enough := time.NewTimer(LastLookPatience)
	defer enough.Stop()
	if s.Looking.Seen != nil {
		select {
		case seen := <-s.Looking.Seen:
			s.record(seen, "", "")
		case <-enough.C:
			return
		}
	}
	if s.naming != nil {
		select {
		case rows := <-s.naming:
			s.rename(rows)
		case <-enough.C:
		}
	}
}

// allGone records that nothing is left, and why.
func (s *Stopper) allGone(fate string, signal string) {
	s.recordLate()
	s.LeaderAlive, s.LookErr = false, nil
	for i := range s.Leftovers {
		if l := &s.Leftovers[i]; l.Fate == "" {
			s.setFate(l, fate, signal)
		}
	}
}

// setFate gives a leftover its fate. A process that may not be killed has not been
// killed.
func (s *Stopper) setFate(l *Leftover, fate string, signal string) {
	if fate == Signalled && s.killing.Load() { // asked after the look that has not seen it
		fate, signal = Forced, ""
	}
	if fate == Forced && s.beyond[l.ID] {
		fate = Ended
	}
	l.Fate, l.Signal = fate, signal
}

// askPermission records which of the leftovers may not be killed, while they are
// there to ask about.
func (s *Stopper) askPermission() {
	for _, l := range s.Leftovers {
		if l.Fate == "" && mayBeDenied(l.PID) && errors.Is(maySignal(l.ID), os.ErrPermission) {
			s.beyond[l.ID] = true
		}
	}
}

// giveUp says why members are still there, the leader among them.
func (s *Stopper) giveUp() {
	if s.LeaderAlive {
		s.Leftovers = append(s.Leftovers, s.leaderSeen)
	}
	for i := range s.Leftovers {
		if l := &s.Leftovers[i]; l.Fate == "" {
			if l.Reason = s.why(*l); l.Reason == "" {
				s.setFate(l, Forced, "")
				if l.PID == s.leader {
					s.LeaderAlive = false
				}
				continue
			}
			l.Fate = Survived
			s.log.Warn("corral: a member could not be stopped", "pid", l.PID, "start", l.Start, "reason", l.Reason)
		}
	}
	if s.LookErr != nil {
		s.log.Warn("corral: cannot tell whether anything is left", "error", s.LookErr)
	}
}

// whyAlive says why p has outlived its kill, or returns "" if it has not.
func whyAlive(p Leftover) string {
	row, err := proctree.Brief(p.PID)
	switch {
	case errors.Is(err, proctree.ErrGone), err == nil && (row.ID != p.ID || !row.Alive()):
		return ""
	case err == nil && row.State == proctree.Disk:
		return "in uninterruptible sleep"
	}
	switch err := maySignal(p.ID); {
	case errors.Is(err, proctree.ErrGone):
		return ""
	case errors.Is(err, os.ErrPermission):
		return "not permitted: it belongs to user " + row.User
	case err != nil:
		return err.Error()
	}
	return fmt.Sprintf("still there %v after it was killed", KillPatience)
}

// maySignal returns why the process cannot be signalled, or nil if it can.
func maySignal(id proctree.ID) error {
	h, err := proctree.Open(id)
	if err != nil {
		return err
	}
	defer h.Close()
	return h.Signal(noSignal)
}
