//go:build linux || darwin || freebsd || windows

package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/corral-run/corral/internal/proctree"
	"github.com/corral-run/corral/internal/reach"
	"github.com/corral-run/corral/internal/registry"
	"github.com/corral-run/corral/internal/stop"
)

// stopKept stops what a run has left alone on purpose.
func (o *stopFlags) stopKept(ctx context.Context, r *knownRun) (string, error) {
	if r.kept.State == registry.Unseen {
		return "", errors.New("what it has kept cannot be seen from here")
	}
	if err := refuseForeign(r.kept.From.UID(), r.kept.Kept); err != nil {
		return "", err
	}
	plan := stop.Plan{{Signal: o.signal.Signal, Wait: time.Duration(o.grace)}}
	if o.signal.Signal == syscall.SIGKILL {
		plan = nil
	}
	stopped, err := stopTree(ctx, r.kept.Kept, plan)
	if err != nil {
		return "", err
	}
	if err := r.kept.Forget(); err != nil {
		return "", err
	}
	if l := r.kept.LeftOut; l != nil && l.Processes > 0 {
		return "", fmt.Errorf("%s are stopped; the registry had no room for %s, which may go on", processes(stopped, ""), processes(l.Processes, "more"))
	}
	return fmt.Sprintf("stopped %s that it had kept", processes(stopped, "")), nil
}

// refuseForeign refuses processes that another user's registry names, or an owner of
// theirs, and that are not that user's: who may stop all must not do it for them.
func refuseForeign(uid int, named []registry.Process) error {
	if uid == os.Geteuid() {
		return nil
	}
	table, err := proctree.Snapshot()
	if err != nil {
		return err
	}
	for _, p := range table {
		is := func(n registry.Process) bool { return n.ID() == p.ID }
		if p.User != strconv.Itoa(uid) && slices.ContainsFunc(named, is) {
			return fmt.Errorf("it names process %d, which is not user %d's: nothing was stopped", p.PID, uid)
		}
	}
	return nil
}

// stopTree stops processes with all that is below them, and says how many there were.
// Nothing is stopped if this process is one of them.
func stopTree(ctx context.Context, roots []registry.Process, plan stop.Plan) (stopped int, err error) {
	if pid := runsThis(roots); pid != 0 {
		return 0, fmt.Errorf("process %d runs this command: stop it from elsewhere", pid)
	}
	s := stop.New(newKeptTree(roots), plan, 0, slog.New(slog.DiscardHandler))
	s.CloseInput = func() error { return os.ErrProcessDone }
	go s.Run()
	select {
	case <-s.Done:
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	left, why := 0, ""
	for _, l := range s.Leftovers {
		if l.Fate == stop.Survived {
			left++
			why = cmp.Or(why, l.Reason)
		}
	}
	switch {
	case s.LookErr != nil:
		return 0, s.LookErr
	case left > 0 && why != "":
		return 0, fmt.Errorf("%s could not be stopped: %s", processes(left, ""), why)
	case left > 0:
		return 0, fmt.Errorf("%s could not be stopped", processes(left, ""))
	}
	return len(s.Leftovers), nil
}

// runsThis returns the PID of the one that this process descends from, or is; 0 if that
// is none.
func runsThis(kept []registry.Process) int {
	table, err := proctree.Snapshot()
	if err != nil {
		return 0 // nothing is stopped without one
	}
	spared := above(table, os.Getpid())
	for _, p := range table {
		if spared[p.PID] && slices.ContainsFunc(kept, func(k registry.Process) bool { return k.ID() == p.ID }) {
			return p.PID
		}
	}
	return 0
}

// keptTree are processes that were kept, those below them, and those in a session that
// one of these leads. Who has been seen to be one of them stays one when it becomes an
// orphan.
type keptTree struct {
	mu  sync.Mutex
	met map[proctree.ID]bool
}

func newKeptTree(kept []registry.Process) *keptTree {
	k := &keptTree{met: make(map[proctree.ID]bool)}
	for _, p := range kept {
		if reach.CheckID(p.PID) == nil && p.PID != os.Getpid() {
			k.met[p.ID()] = true
		}
	}
	return k
}

func (k *keptTree) Members() ([]proctree.Process, error) {
	table, err := proctree.Snapshot()
	if err != nil {
		return nil, err
	}
	return k.in(table), nil
}

// in returns those of the table that are to be stopped. This process is not, nor is
// any above it, whatever it was started by.
func (k *keptTree) in(table []proctree.Process) []proctree.Process {
	k.mu.Lock()
	defer k.mu.Unlock()
	spared := above(table, os.Getpid())
	known := make(map[int]bool)
	sessions := make(map[int]bool)
	add := func(p proctree.Process) {
		known[p.PID], k.met[p.ID] = true, true
		if p.SID == p.PID {
			sessions[p.SID] = true
		}
	}
	for _, p := range table {
		if k.met[p.ID] {
			add(p)
		}
	}
	for more := true; more; {
		more = false
		for _, p := range table {
			if !known[p.PID] && !spared[p.PID] && (known[p.PPID] || sessions[p.SID] && p.SID != 0) {
				add(p)
				more = true
			}
		}
	}
	return slices.DeleteFunc(slices.Clone(table), func(p proctree.Process) bool {
		return !known[p.PID] || spared[p.PID] || !p.Alive() || reach.CheckID(p.PID) != nil
	})
}

// above are a process and all that it descends from.
func above(table []proctree.Process, pid int) map[int]bool {
	parents := make(map[int]int, len(table))
	for _, p := range table {
		parents[p.PID] = p.PPID
	}
	met := make(map[int]bool)
	for pid > 0 && !met[pid] {
		met[pid] = true
		pid = parents[pid]
	}
	return met
}

func (k *keptTree) Signal(sigs ...os.Signal) error { return reach.Signal(k.Members, sigs...) }

func (k *keptTree) Kill() error {
	err := reach.Signal(k.Members, os.Kill)
	if errors.Is(err, os.ErrProcessDone) {
		return nil
	}
	return err
}

func (k *keptTree) AwaitEmpty(ctx context.Context) error { return reach.Drain(ctx, k.Members) }
