//go:build linux || darwin || freebsd

package keeper

import (
	"context"
	"errors"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/corral-run/corral/internal/osproc"
	"github.com/corral-run/corral/internal/pgroup"
	"github.com/corral-run/corral/internal/proctree"
	"github.com/corral-run/corral/internal/reach"
	"github.com/corral-run/corral/internal/stop"
	"github.com/corral-run/corral/internal/wire"
	"github.com/corral-run/corral/internal/wire/code"
)

// inquiry is the one question at a time that asks the keeper who the members are,
// where only it knows.
type inquiry struct {
	sync.Mutex
	members chan []proctree.ID
	silent  chan struct{} // closed when the keeper will say nothing more
}

// answerTime is how long a keeper may take to answer. It is woken up meanwhile.
const answerTime = 2 * time.Second

// say sends the keeper a request. It does not wait for a keeper that does not read.
func (k *containment) say(what byte) error {
	k.line.SetWriteDeadline(time.Now().Add(answerTime))
	_, err := k.line.Write([]byte{what})
	return err
}

// watchLeader waits for the leader's end and then wakes the keeper, which a member
// may have stopped: nobody would hear of the end otherwise.
func (k *containment) watchLeader() {
	leader, err := proctree.Open(k.id)
	switch {
	case err == nil:
		defer leader.Close()
		leader.Wait(k.ctx)
	case !errors.Is(err, proctree.ErrGone): // no descriptor to watch it with
		k.rouse(k.ended, nil)
		return
	}
	if k.ctx.Err() != nil {
		return
	}
	const patience = 5 * time.Second
	late := time.NewTimer(patience)
	defer late.Stop()
	k.rouse(k.ended, late.C)
}

// responds reports whether the keeper answers a ping.
func (k *containment) responds() bool {
	select {
	case <-k.pong: // left from an earlier ping
	default:
	}
	k.wake()
	if k.say(code.Ping) != nil {
		return false
	}
	select {
	case <-k.pong:
		return true
	case <-k.inquiry.silent:
	case <-time.After(answerTime):
	}
	return false
}

// takeOver kills the run in place of a keeper that does not answer, as somebody
// keeps it from that. First it kills those that the keeper has adopted, while that
// still shows, then the keeper.
func (k *containment) takeOver() {
	k.tookOver.Store(true)
	if k.pidns == nil {
		reach.Signal(k.look, os.Kill)
	}
	k.proc.Kill() // in a PID namespace the kernel kills all with it
}

// rouse wakes the keeper again and again, as a member may stop it, until enough is
// closed. When late fires, it takes over from a keeper that does not answer.
func (k *containment) rouse(enough <-chan struct{}, late <-chan time.Time) {
	for pause := firstRouse; ; pause = min(2*pause, time.Second) {
		select {
		case <-time.After(pause):
			k.wake()
		case <-late:
			if !k.responds() {
				k.takeOver()
			}
		case <-enough:
			return
		case <-k.ctx.Done():
			return
		}
	}
}

// firstRouse is how long a keeper has before it is first woken up.
const firstRouse = 50 * time.Millisecond

// listen takes in what the keeper says until it ends.
func (k *containment) listen() {
	for {
		event := new(wire.Event)
		if wire.Receive(k.line, event, wire.MaxEvent) != nil || !k.takeIn(event) {
			break
		}
	}
	close(k.inquiry.silent)
	if k.currentPhase() >= dismissed || isClosed(k.emptied) { // with nothing left to keep, nothing is lost
		return
	}
	// The kernel closes the line before it gives the orphans away.
	k.proc.Kill()
	ended := k.awaitKeeper(stop.KillPatience)
	// With the init of a PID namespace the kernel has killed all members: nothing
	// is lost that the owner did not mean to kill.
	meant := ended && k.pidns != nil && k.tookOver.Load()
	k.mu.Lock()
	over := k.phase >= dismissed
	k.lost = !over && !meant
	k.mu.Unlock()
	switch {
	case over:
	case meant:
		close(k.emptied)
		k.leaderGone()
	default:
		k.killRemaining()
	}
}

// leaderGone records that the leader has ended, if the keeper has not said so: from
// now on its PID is free.
func (k *containment) leaderGone() {
	if !isClosed(k.ended) {
		osproc.MarkDone(k.leader)
		close(k.ended)
		k.stopWatch()
	}
}

// takeIn takes in one event. It returns false if no keeper sends such an event:
// then nothing else that comes over the line is to be believed.
func (k *containment) takeIn(event *wire.Event) bool {
	told := k.end != nil // only this goroutine writes it
	// emptied comes first: whoever waits for the leader should find the run empty
	// if it is.
	if (event.Kind == code.Ended && event.Empty || event.Kind == code.NowEmpty && told) && !isClosed(k.emptied) {
		close(k.emptied)
	}
	switch event.Kind {
	case code.Ended:
		if told {
			return true
		}
		k.mu.Lock()
		k.end = event
		k.freed = k.req.WaitForLeftovers && !event.Empty && osproc.CanMarkDone
		freed := k.freed
		k.mu.Unlock()
		if freed {
			osproc.MarkDone(k.leader)
			k.say(code.Reap)
		}
		close(k.ended)
		k.stopWatch()
	case code.NowEmpty:
	case code.LeaderUsage:
		if told {
			k.mu.Lock()
			k.end.Rusage = event.Rusage
			k.mu.Unlock()
		}
	case code.MemberList:
		select {
		case k.inquiry.members <- event.Members:
		default: // nobody waits for it any more
		}
	case code.Pong:
		select {
		case k.pong <- struct{}{}:
		default:
		}
	default:
		return false
	}
	return true
}

// killRemaining does what can be done without the keeper. It kills the leader, its
// group if it leads one, and the members last seen. Where there is a parent-death
// signal, the leader has already got SIGKILL, unless it has renounced that.
func (k *containment) killRemaining() {
	k.mu.Lock()
	freed := k.freed
	k.mu.Unlock()
	look := func() (rows []proctree.Process, err error) {
		if !freed {
			if rows, err = proctree.BelowID(k.id); errors.Is(err, proctree.ErrGone) {
				err = nil
			}
			rows = k.Without(rows)
		}
		for _, p := range k.remaining() {
			rows = append(rows, p)
			if below, err := proctree.BelowID(p.ID); err == nil && p.ID != k.id { // born since they were last seen
				rows = append(rows, k.Without(below)...)
			}
		}
		return rows, err
	}
	reach.Signal(look, os.Kill)
	// Whoever adopts the leader when the keeper is gone reaps it. Then its PID may
	// be another process's.
	if !freed && proctree.Same(k.id) {
		if group, err := pgroup.Open(k.id.PID); err == nil {
			k.killGroup(group)
			group.Close()
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), stop.KillPatience)
	defer cancel()
	if reach.Drain(ctx, look) == nil {
		close(k.emptied)
	}
	k.leaderGone()
}

// killGroup kills the leader's group. Whoever has been let go of may be in it.
func (k *containment) killGroup(group *pgroup.Group) {
	if k.spared.Empty() {
		group.Signal(syscall.SIGKILL)
		return
	}
	reach.Signal(func() ([]proctree.Process, error) {
		rows, err := group.Members()
		return k.Without(rows), err
	}, os.Kill)
}

// remaining returns those of the members last seen that are alive, and the leader
// if it is.
func (k *containment) remaining() []proctree.Process {
	ids := []proctree.ID{k.id}
	for _, p := range k.Without(k.lastSeen()) {
		ids = append(ids, p.ID)
	}
	return live(ids)
}

// live returns those of the processes that are alive.
func live(ids []proctree.ID) (rows []proctree.Process) {
	for _, id := range ids {
		if row, ok := proctree.Live(id); ok {
			rows = append(rows, row)
		}
	}
	return rows
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// lastSeen returns the members last seen.
func (k *containment) lastSeen() []proctree.Process {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.lastMembers
}

// ask asks the keeper for the members. It returns none if the keeper is gone.
func (k *containment) ask() ([]proctree.Process, error) {
	// A member may have stopped the keeper, and may do so again and again.
	const patience = 2 * time.Second
	k.inquiry.Lock()
	defer k.inquiry.Unlock()
	select {
	case <-k.inquiry.members: // came too late for whoever asked
	default:
	}
	k.wake()
	k.say(code.AskMembers) // a keeper that cannot be asked does not answer either
	var members []proctree.ID
	select {
	case members = <-k.inquiry.members:
	case <-k.inquiry.silent:
		return nil, nil
	case <-time.After(patience):
		return nil, errors.New("the keeper does not answer")
	}
	return live(members), nil
}

// wake continues a keeper that a member has stopped.
func (k *containment) wake() { k.proc.Signal(syscall.SIGCONT) }
