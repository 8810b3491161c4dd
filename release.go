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
	"github.com/corral-run/corral/internal/stop"
)

// A caller of os/exec who calls Process.Release instead of Wait lets a daemon go. Nothing
// tells when that happens: os.Process has no hook. So the run looks at the process: whenever
// it would act, and after pauses that double, until Wait is called or the leader has ended.
// In doubt the run is stopped: one that has not been seen to be released is not.

// errLetGo is what remains to be said of a run that has been let go.
var errLetGo = errors.New("corral: the run has been let go, as its Process has been released")

const (
	// releaseRush is how long a look follows the other where the command gets a session of
	// its own: then it may be a daemon, and its owner be about to end.
	releaseRush = 500 * time.Microsecond
	// firstLook is the first pause between looks.
	firstLook = time.Millisecond
)

// watchRelease begins to look whether the process has been released.
func (r *run) watchRelease() {
	r.mu.Lock()
	r.watched = true
	r.mu.Unlock()
	if !leavesSession(r.cmd.SysProcAttr) {
		r.lookAfter(firstLook)
		return
	}
	go func() {
		for began := time.Now(); time.Since(began) < releaseRush && !osproc.Released(r.process); {
			runtime.Gosched()
		}
		if !r.letGo() {
			r.lookAfter(firstLook)
		}
	}()
}

// lookAfter looks again after the pause.
func (r *run) lookAfter(pause time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.decided && !r.waitCalled.Load() {
		r.releaseTimer = time.AfterFunc(pause, func() {
			if !r.letGo() {
				r.lookAfter(2 * pause)
			}
		})
	}
}

// letGo lets the run go if the caller has released its process and nothing has been
// decided otherwise before. It reports whether the run has been let go.
//
// Who wants to stop the run meanwhile waits for the lock: what becomes of that depends on this.
func (r *run) letGo() bool {
	if r.inline || !osproc.Released(r.process) {
		return false
	}
	left := r.glance()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.released || r.decided || !r.watched || r.waitCalled.Load() || r.stop != nil {
		return r.released
	}
	if err := r.cont.LetGo(); err != nil {
		r.log.Warn("corral: the process has been released, but the run cannot be let go", "error", err)
		return false
	}
	r.released, r.ending, r.letGoOf = true, Released, left
	r.log.Debug("corral: the process has been released, and the run let go")
	r.giveUp()
	return true
}

// glance returns the members, if they are to be had soon: it is for the Report only.
func (r *run) glance() []proctree.Process {
	r.mu.Lock()
	over := r.released || r.decided
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
	return r.released
}

// after returns what a run that is over is asked for: err, unless it has been let go.
func (r *run) after(err error) error {
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
	r.decided = true
	if r.releaseTimer != nil {
		r.releaseTimer.Stop()
	}
	return r.released
}

// part gives up everything that the owner has of a run that has been let go, but for the
// streams: as under os/exec, copying goes on until their end.
func (r *run) part() {
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
	r.mu.Lock()
	defer r.mu.Unlock()
	r.report.Store(r.makeReport())
}

// outstay keeps the thread for a leader that has been let go, as long as it lives: for the
// kernel the thread's end is the parent's (see needsOwnThread).
func (r *run) outstay() {
	if !r.isReleased() {
		return
	}
	if h, err := proctree.Open(r.leader); err == nil {
		h.Wait(context.Background())
		h.Close()
	}
}

// waitReleased is Wait after Process.Release, as os/exec has it.
func (r *run) waitReleased() error {
	r.cmd.stdio.finish(r.remainingDelay(), true)
	return syscall.EINVAL
}

// unclaimed is about a run that is over while nobody waits for it: perhaps nobody ever
// will. As under os/exec, that does not use up the owner. What nobody can ask for any more is
// given up at once. A keeper keeps the leader's PID from being another's, until the process
// has been released, or nobody has the Cmd any more.
func (r *run) unclaimed(pinned bool) {
	if r.inline || r.stuck || r.waitCalled.Load() {
		return
	}
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

// lookUnclaimed looks whether the process of a run that is over has been released, for some
// seconds. It does not keep the run from being garbage.
func lookUnclaimed(run weak.Pointer[run], pause time.Duration) {
	const longest = 10 * time.Second
	time.AfterFunc(pause, func() {
		r := run.Value()
		switch {
		case r == nil || r.waitCalled.Load() || pause > longest:
		case osproc.Released(r.process):
			r.close()
			r.mu.Lock()
			defer r.mu.Unlock()
			r.report.CompareAndSwap(nil, r.makeReport())
		default:
			lookUnclaimed(run, 2*pause)
		}
	})
}
