package stop

import (
	"time"

	"github.com/corral-run/corral/internal/proctree"
)

// Taken is a step of a stop that has been taken, or the kill, when it begins.
type Taken struct {
	Number  int    // from 1
	Signal  string // as SignalName has it, or Kill
	Wait    time.Duration
	Members int   // the live members when they were last looked at, or -1 if that has failed
	Err     error // why nobody could be reached
}

// String says what the step does.
func (t Taken) String() string {
	switch t.Signal {
	case Kill:
		return "killing the run"
	case SignalName(CloseStdin):
		return "closing the standard input of the run"
	}
	return "signalling the run"
}

// Kill is the kill among the signals of the steps taken.
const Kill = "kill"

// unknown stands for a number that is not known.
const unknown = -1

// Met is a leftover that has been met.
type Met struct {
	Leftover
	Executable string // the path, as far as it is known
}

// watch is what a Stopper has for those who are told.
type watch struct {
	steps   int
	members int
	named   map[proctree.ID]bool // the details have been looked at
	told    map[proctree.ID]bool
	finding chan map[proctree.ID]string // a search for executables that goes on, or nil
}

// looked records that the details of the rows have been looked at.
func (w *watch) looked(rows []proctree.Process) {
	if w.named == nil {
		w.named = make(map[proctree.ID]bool)
	}
	for _, row := range rows {
		w.named[row.ID] = true
	}
}

func (s *Stopper) nextStep(signal string, wait time.Duration) Taken {
	s.watch.steps++
	return Taken{Number: s.watch.steps, Signal: signal, Wait: wait, Members: s.watch.members}
}

// tellStep tells of a step. If nobody else is told, the log is.
func (s *Stopper) tellStep(t Taken) {
	if s.OnStep != nil {
		s.OnStep(t)
		return
	}
	s.log.Debug("corral: "+t.String(), "signal", t.Signal, "wait", t.Wait)
}

func (s *Stopper) tellKill() { s.tellStep(s.nextStep(Kill, KillPatience)) }

// tellMet tells of those leftovers that have a name and have not been told of, or, in
// the end, of all others.
func (s *Stopper) tellMet(all bool) {
	if s.OnMet == nil {
		return
	}
	var fresh []Leftover
	for _, l := range s.Leftovers {
		if !s.watch.told[l.ID] && !s.helpers[l.ID] && (all || s.watch.named[l.ID]) {
			fresh = append(fresh, l)
		}
	}
	if len(fresh) == 0 {
		return
	}
	paths := s.executables(fresh)
	if s.watch.told == nil {
		s.watch.told = make(map[proctree.ID]bool)
	}
	for _, l := range fresh {
		s.watch.told[l.ID] = true
		s.OnMet(Met{l, paths[l.ID]})
	}
}

// findPatience bounds the search for executables, which may be on a file system that
// a member serves. They are for whoever is told alone.
const findPatience = 100 * time.Millisecond

// executables returns the paths of what the leftovers execute, as far as they are
// soon found. There is one search at a time.
func (s *Stopper) executables(fresh []Leftover) map[proctree.ID]string {
	if s.watch.finding != nil {
		select {
		case <-s.watch.finding:
		default:
			return nil
		}
	}
	found := make(chan map[proctree.ID]string, 1)
	s.watch.finding = found
	go func() {
		paths := make(map[proctree.ID]string, len(fresh))
		for _, l := range fresh {
			paths[l.ID] = proctree.Executable(l.ID)
		}
		found <- paths
	}()
	late := time.NewTimer(findPatience)
	defer late.Stop()
	select {
	case paths := <-found:
		s.watch.finding = nil
		return paths
	case <-late.C:
		return nil
	}
}
