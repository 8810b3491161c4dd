//go:build darwin || freebsd

package keeper

import (
	"context"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/corral-run/corral/internal/proctree"
	"github.com/corral-run/corral/internal/reach"
	"github.com/corral-run/corral/internal/stop"
	"github.com/corral-run/corral/internal/wire"
	"golang.org/x/sys/unix"
)

// events are what a keeper waits for beside SIGCHLD. news says that there is
// something to observe. blind says that a member may end without news.
type events struct {
	news  <-chan struct{}
	blind bool
}

func (k *keeper) serve(spec *wire.Spec) {
	died := make(chan os.Signal, 1)
	signal.Notify(died, syscall.SIGCHLD)
	requests, gone := k.listen(), k.owner.End()
	own := &ownRun{look: k.members, killing: make(chan struct{}), emptied: make(chan struct{})}
	stopper := stop.NewQuiet(own, spec.Plan, k.leader.PID)
	killing := own.killing
	var stopped chan struct{}
	var again <-chan time.Time
	pause, orphaned := time.Millisecond, false
	for {
		k.tend()
		if orphaned && k.mayLeave(false) {
			k.end()
		}
		if k.empty {
			own.emptyOnce.Do(func() { close(own.emptied) })
		}
		again = nil
		if k.more {
			again = time.After(0)
		} else if (k.killing || k.blind) && !k.empty {
			// A child of a process that may not be killed is adopted without an
			// event.
			again = time.After(pause)
			pause = min(2*pause, time.Second)
		}
		select {
		case <-died:
		case <-k.news:
		case <-again:
			k.stalled = !k.more
		case <-killing:
			k.killing, killing = true, nil
		case <-stopped:
			k.end()
		case <-gone:
			gone = nil
			unix.Shutdown(0, unix.SHUT_RD) // nobody else may speak for the owner
		case request, ok := <-requests:
			switch {
			case ok:
				k.obey(request)
			default:
				requests, orphaned = nil, true
				if !k.letGo && !k.mayLeave(false) {
					stopped = stopper.Done
					go stopper.Run()
				}
			}
		}
	}
}

// listen returns the owner's requests, up to the end of the line.
func (k *keeper) listen() <-chan byte {
	requests := make(chan byte)
	go func() {
		defer close(requests)
		for b := make([]byte, 1); ; {
			if n, err := k.line.Read(b); n != 1 || err != nil {
				return
			}
			requests <- b[0]
		}
	}()
	return requests
}

// lastKill kills whoever is left.
func (k *keeper) lastKill() {
	k.killing = true
	k.tend()
}

// ownRun is the run as a stop.Stopper in the keeper sees it.
type ownRun struct {
	look                func() ([]proctree.Process, error)
	killOnce, emptyOnce sync.Once
	killing, emptied    chan struct{}
}

func (b *ownRun) Signal(sigs ...os.Signal) error { return reach.Signal(b.look, sigs...) }

func (b *ownRun) Kill() error {
	b.killOnce.Do(func() { close(b.killing) })
	return nil
}

func (b *ownRun) Members() ([]proctree.Process, error) {
	return reach.Look(func() ([]proctree.Process, bool, error) {
		rows, err := b.look()
		select {
		case <-b.emptied:
			return rows, true, err
		default:
			return rows, false, err
		}
	})
}

func (b *ownRun) AwaitEmpty(ctx context.Context) error {
	select {
	case <-b.emptied:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// mapped is false: there are no maps of ids here.
func mapped(*syscall.SysProcAttr) bool { return false }
