package corral

import (
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/corral-run/corral/internal/event"
	"github.com/corral-run/corral/internal/hold"
	"github.com/corral-run/corral/internal/proctree"
	"github.com/corral-run/corral/internal/registry"
	"github.com/corral-run/corral/internal/stop"
)

// events tells of a run, step by step, what docs/events.md says. Nobody who is told
// can hold it up. A nil one tells nobody.
//
// What it tells is what the Report says in the end. So it keeps in mind what it has
// told, and tells the rest when there is a Report.
type events struct {
	run    string
	redact bool
	sink   event.Sink    // nil for nobody
	log    *event.Logger // likewise

	mu    sync.Mutex // not held by who wants run.mu
	met   map[proctree.ID]bool
	fates map[proctree.ID]Fate // the last one told
	ended bool                 // the leader's end has been told
	over  bool                 // and the run's
}

// flushPatience is how long Wait waits for a Logger that has not taken all yet.
const flushPatience = time.Second

// newEvents returns nil if nobody wants to be told.
func newEvents(c *Cmd) *events {
	sink := event.SinkOf(c.ctx)
	if c.Logger == nil && sink == nil {
		return nil
	}
	e := &events{
		run: registry.IDOf(c.ctx), redact: c.Redact, sink: sink,
		met: make(map[proctree.ID]bool), fates: make(map[proctree.ID]Fate),
	}
	if c.Logger != nil {
		e.log = event.NewLogger(c.Logger.Handler())
	}
	return e
}

// logger returns what is said beside the events goes to.
func (e *events) logger() *slog.Logger {
	if e == nil || e.log == nil {
		return discard
	}
	return slog.New(e.log)
}

// flush waits for the Logger, but not for long.
func (e *events) flush() {
	if e != nil && e.log != nil {
		e.log.Flush(flushPatience)
	}
}

// tell tells of an event. It is called with mu held, so that all who are told get the
// same order.
func (e *events) tell(ev event.Event, at time.Time, level slog.Level, message string) {
	event.Fill(ev, e.run, at)
	if e.log != nil {
		e.log.Tell(ev, level, "corral: "+message)
	}
	if e.sink != nil {
		e.sink(ev) // whose it is from now on
	}
}

func (e *events) debug(ev event.Event, message string) {
	e.tell(ev, time.Now(), slog.LevelDebug, message)
}

// shown is a command line as it is told: all of it, unless the run is one to Redact.
func (e *events) shown(command []string) []string {
	if !e.redact {
		return command
	}
	return registry.Shown(command, true)
}

// started tells that the run has started, and its leader.
func (e *events) started(r *run) {
	if e == nil {
		return
	}
	begun := &event.RunStarted{
		Command: e.shown(r.argv()), Containment: string(r.cont.name), Declined: []event.Declined{},
		OwnerDeath: string(r.ownersDeath()), Limits: r.cmd.Limits.told(),
	}
	if self, err := proctree.Identify(os.Getpid()); err == nil {
		begun.Owner = eventID(self)
	} else {
		begun.Owner.PID = os.Getpid()
	}
	for _, d := range r.cont.declined {
		begun.Declined = append(begun.Declined, event.Declined{Containment: string(d.Containment), Reason: d.Reason})
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.tell(begun, r.started, slog.LevelDebug, "run started")
	e.debug(&event.LeaderStarted{Process: event.Process{ID: eventID(r.leader), Command: e.shown(r.argv())}}, "started")
}

// ownersDeath is what the death of this process does to the run while the leader
// lives.
func (r *run) ownersDeath() hold.OwnersDeath {
	does := r.cont.Facts().OwnersDeath
	switch {
	case r.cmd.Leftovers == DetachLeftovers:
		return hold.DeathIsNothing
	case does == hold.DeathStops && len(r.cmd.planForOwnersDeath(r.plan)) == 0:
		return hold.DeathKills
	}
	return does
}

// leaderEnded tells how the leader has ended, if that is known by now. pinned says
// that it must not be reaped yet.
func (r *run) tellLeaderEnded(pinned bool) {
	if r.events == nil {
		return
	}
	state := r.cont.Peek()
	if state == nil && !pinned && r.waitCalled.Load() && !r.lateWait.Load() {
		r.reap()
		state = r.state
	}
	if state == nil {
		return // the Report will know
	}
	r.events.mu.Lock()
	defer r.events.mu.Unlock()
	r.events.leaderEnded(r.leader, state)
}

// leaderEnded is called with mu held. Without a state it is not known how.
func (e *events) leaderEnded(leader proctree.ID, state *os.ProcessState) {
	if e.ended {
		return
	}
	e.ended = true
	ev := &event.LeaderEnded{ID: eventID(leader)}
	if state != nil {
		code := state.ExitCode()
		ev.ExitCode, ev.Signal = &code, endedBy(state)
		ev.Usage = &event.Usage{
			UserSeconds: state.UserTime().Seconds(), SystemSeconds: state.SystemTime().Seconds(),
			PeakMemory: peakMemory(state),
		}
	}
	e.debug(ev, "the command has ended")
}

// watch has a stop tell of itself. of is whom it is about, if not the whole run; those
// whom it meets are not the run's leftovers then.
func (e *events) watch(s *stop.Stopper, because Ending, of *proctree.ID) {
	if e == nil {
		return
	}
	s.OnStep = func(t stop.Taken) {
		ev := &event.StopStep{Because: string(because), Step: t.Number, Signal: t.Signal, WaitSeconds: t.Wait.Seconds()}
		if of != nil {
			id := eventID(*of)
			ev.Of = &id
		}
		if t.Members >= 0 {
			ev.Members = &t.Members
		}
		if t.Err != nil {
			ev.Error = t.Err.Error()
		}
		e.mu.Lock()
		defer e.mu.Unlock()
		if !e.over {
			e.debug(ev, t.String())
		}
	}
	if of != nil {
		return
	}
	s.OnMet = func(m stop.Met) {
		e.mu.Lock()
		defer e.mu.Unlock()
		if !e.over {
			e.meet(event.Process{ID: eventID(m.ID), Name: m.Name, Command: e.shown(m.Command), Executable: m.Executable})
		}
	}
}

// meet tells of a leftover, once. It is called with mu held.
func (e *events) meet(p event.Process) {
	id := proctree.ID{PID: p.PID, Start: p.Start}
	if e.met[id] {
		return
	}
	e.met[id] = true
	e.debug(&event.Leftover{Process: p}, "a process is left")
}

// settle tells of leftovers, and of what has become of them, so far as it has not been
// told.
func (e *events) settle(all []Leftover) {
	if e == nil {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.over {
		e.settleAll(all)
	}
}

// settleAll is called with mu held.
func (e *events) settleAll(all []Leftover) {
	for _, l := range all {
		p := event.Process{
			ID: event.ID{PID: l.PID, Start: l.Start}, Command: e.shown(l.Command), Executable: l.Executable,
		}
		e.meet(p)
		id := proctree.ID{PID: l.PID, Start: l.Start}
		if e.fates[id] == l.Fate {
			continue
		}
		e.fates[id] = l.Fate
		switch l.Fate {
		case Forced:
			e.debug(&event.Killed{Process: p}, "killed")
		case Survived:
			e.debug(&event.Unkillable{Process: p, Reason: l.Reason}, "cannot be killed") // who logs it as a warning is the stop
		case Kept, Detached, Held:
			e.debug(&event.Kept{Process: p, Fate: string(l.Fate)}, "kept")
		}
	}
}

// end tells the rest, when all is over.
func (e *events) end(r *run, rep *Report) {
	if e == nil {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.over {
		return
	}
	if !r.stuck && rep.Ending != Released {
		e.leaderEnded(r.leader, r.state)
	}
	e.settleAll(rep.Leftovers)
	left := make(map[proctree.ID]bool)
	fates := make(map[string]int)
	for _, l := range rep.Leftovers {
		left[proctree.ID{PID: l.PID, Start: l.Start}] = true
		fates[string(l.Fate)]++
	}
	for id := range e.met {
		if !left[id] { // it has turned out to be a helper of another run
			e.debug(&event.Leftover{Process: event.Process{ID: eventID(id)}, Retracted: true}, "the process is none that was left")
		}
	}
	e.over = true
	e.debug(&event.RunEnded{
		Ending: string(rep.Ending), Cause: rep.Cause, ExitCode: rep.ExitCode, Signal: rep.Signal,
		Forced: rep.Forced, SignalError: rep.SignalError, Leftovers: len(rep.Leftovers), Fates: fates,
		Unknown: rep.Unknown, KeeperLost: rep.KeeperLost, Unguarded: rep.Unguarded, BestEffort: rep.BestEffort,
		Holders: len(rep.Holders), OutputDropped: rep.OutputDropped, ElapsedSeconds: rep.Elapsed.Seconds(),
		Usage: event.Usage{
			UserSeconds: rep.UserTime.Seconds(), SystemSeconds: rep.SystemTime.Seconds(), PeakMemory: rep.PeakMemory,
		},
		Used: rep.Usage.told(),
	}, "run ended")
}

func eventID(id proctree.ID) event.ID { return event.ID{PID: id.PID, Start: id.Start} }
