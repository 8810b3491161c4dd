package corral

import (
	"context"
	"errors"
	"runtime"
	"syscall"
	"time"
	"weak"

	"github.com/corral-run/corral/internal/osproc"
	"github.com/corral-run/corral/internal/proctree"
	"github.com/corral-run/corral/internal/registry"
	"github.com/corral-run/corral/internal/stop"
)

// A caller of os/exec who calls Process.Release instead of Wait lets a daemon go.
// Nothing tells when that happens: os.Process has no hook. So the run looks at the
// process: whenever it would act, and after pauses that double, until Wait is
// called or the leader has ended. In doubt the run is stopped: one that has not
// been seen to be released is not.

// releasePhase says whether a run can still be let go.
type releasePhase int

const (
	phaseStarting   releasePhase = iota // Start has not done all that it does
	phaseReleasable                     // it has
	phaseDecided                        // the wait for the leader is over: the run stays the owner's
	phaseReleased                       // the run has been let go
)

// errLetGo is what remains to be said of a run that has been let go.
var errLetGo = errors.New("corral: the run has been let go, as its Process has been released")

const (
	// releaseRush is how long looks follow each other without a pause if the
	// command gets a session of its own: then it may be a daemon, and its owner
	// about to end.
	releaseRush = 500 * time.Microsecond
	// firstLook is the first pause between looks.
	firstLook = time.Millisecond
)

// watchRelease begins to look whether the process has been released. If nobody
// attends to the run by the first look, for which Wait has to be called, a goroutine
// of its own does from then on. A command that is soon over needs none.
func (r *run) watchRelease() {
	r.mu.Lock()
	if r.phase == phaseStarting {
		r.phase = phaseReleasable
	}
	r.mu.Unlock()
	if !leavesSession(r.cmd.SysProcAttr) {
		r.lookAfter(firstLook)
		return
	}
	go func() {
		for began := time.Now(); time.Since(began) < releaseRush && !osproc.Released(r.process); {
			runtime.Gosched()
		}
		r.letGo()
		r.lookAfter(firstLook)
	}()
}

// lookAfter looks again after the pause, unless there is nothing to look for any
// more.
func (r *run) lookAfter(pause time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.waitCalled.Load(): // who called it attends
	case r.phase < phaseDecided:
		r.releaseTimer = time.AfterFunc(pause, func() {
			r.letGo()
			if r.attend() {
				go r.supervise()
			}
			r.lookAfter(2 * pause)
		})
	case r.attend():
		go r.supervise()
	}
}

// stopLooking ends the looks.
func (r *run) stopLooking() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.releaseTimer != nil {
		r.releaseTimer.Stop()
	}
}

// letGo lets the run go if the caller has released its process and nothing has been
// decided otherwise before. It reports whether the run has been let go.
//
// Whoever wants to stop the run meanwhile waits for the lock, because a stop
// depends on this.
func (r *run) letGo() bool {
	if r.inline || !osproc.Released(r.process) {
		return false
	}
	left := r.glance()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.phase != phaseReleasable || r.waitCalled.Load() || r.stop != nil {
		return r.phase == phaseReleased
	}
	if err := r.cont.LetGo(); err != nil {
		r.log.Warn("corral: the process has been released, but the run cannot be let go", "error", err)
		return false
	}
	r.phase, r.ending, r.letGoOf = phaseReleased, Released, left
	r.log.Debug("corral: the process has been released, and the run let go")
	r.giveUp()
	return true
}

// glance returns the members, if they can be had soon. They are for the Report
// only.
func (r *run) glance() []proctree.Process {
	r.mu.Lock()
	over := r.phase >= phaseDecided
	r.mu.Unlock()
	if over {
		return nil
	}
	seen := make(chan []proctree.Process, 1)
	go func() {
		r.using.RLock()
		defer r.using.RUnlock()
		var rows []proctree.Process
		if !r.closed {
			rows, _ = r.cont.Members()
		}
		seen <- rows
	}()
	select {
	case rows := <-seen:
		return rows
	case <-time.After(stop.LookPatience):
		return nil
	}
}

func (r *run) isReleased() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.phase == phaseReleased
}

// unlessReleased returns err for a run that is over, unless the run has been let
// go.
func (r *run) unlessReleased(err error) error {
	if r.isReleased() {
		return errLetGo
	}
	return err
}

// decide ends the looking, and reports whether the run has been let go.
func (r *run) decide() bool {
	r.letGo()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.phase != phaseReleased {
		r.phase = phaseDecided
	}
	if r.releaseTimer != nil {
		r.releaseTimer.Stop()
	}
	return r.phase == phaseReleased
}

// closeReleased gives up all that the owner has of a run that has been let go,
// except the streams: as under os/exec, copying goes on until their end.
func (r *run) closeReleased() {
	if r.timeout != nil {
		r.timeout.Stop()
	}
	if r.ctxStop != nil {
		r.ctxStop()
	}
	for _, p := range describe(r.letGoOf) {
		r.kept = append(r.kept, Leftover{Process: p, Fate: Kept})
	}
	r.close()
	known := r.cont.Facts()
	r.mu.Lock()
	rep := r.makeReport(known)
	r.report.Store(rep)
	r.events.end(r, rep)
	r.mu.Unlock()
	r.unlist(rep, nil, registry.LetGo)
}

// keepThread keeps the thread for a leader that has been let go, as long as it
// lives: for the kernel, the end of the thread is the end of the parent (see
// hold.NeedsOwnThread).
func (r *run) keepThread() {
	if !r.isReleased() {
		return
	}
	if h, err := proctree.Open(r.leader); err == nil {
		h.Wait(context.Background())
		h.Close()
	}
}

// waitReleased is Wait after Process.Release, as in os/exec.
func (r *run) waitReleased() error {
	r.cmd.stdio.finish(r.remainingDelay(), true)
	return syscall.EINVAL
}

// closeUnclaimed gives up a run that is over while nobody waits for it: perhaps
// nobody ever will. As under os/exec, such runs do not use up the owner. What
// nobody can ask for any more is given up at once. A keeper holds the leader's PID,
// so that no other process gets it, until the process has been released, or nobody
// has the Cmd any more.
func (r *run) closeUnclaimed(pinned bool) {
	if r.inline || r.stuck || r.waitCalled.Load() || r.heldBy() != nil {
		return
	}
	r.unlistUnclaimed()
	if !pinned && r.nothingLeft() {
		r.close()
		return
	}
	r.mu.Lock()
	r.garbage = runtime.AddCleanup(r.cmd, func(cont *choice) { go cont.Close() }, r.cont)
	r.mu.Unlock()
	lookUnclaimed(weak.Make(r), firstLook)
}

func (r *run) nothingLeft() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.kept) == 0 && r.unknown == nil && (r.stop == nil || stopError(r.stop) == nil)
}

// lookUnclaimed looks for some seconds whether the process of a run that is over
// has been released. It does not keep the run from being garbage.
func lookUnclaimed(run weak.Pointer[run], pause time.Duration) {
	const longest = 10 * time.Second
	time.AfterFunc(pause, func() {
		r := run.Value()
		switch {
		case r == nil || r.waitCalled.Load() || pause > longest:
		case osproc.Released(r.process):
			r.close()
			known := r.cont.Facts()
			r.mu.Lock()
			defer r.mu.Unlock()
			rep := r.makeReport(known)
			if r.report.CompareAndSwap(nil, rep) {
				r.events.end(r, rep)
			}
		default:
			lookUnclaimed(run, 2*pause)
		}
	})
}
