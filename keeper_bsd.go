//go:build darwin || freebsd

package corral

import (
	"context"
	"log/slog"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/corral-run/corral/internal/proctree"
)

// events is what a keeper waits for beside SIGCHLD: news says that there is
// something to observe, and blind that somebody may end without any.
type events struct {
	news  <-chan struct{}
	blind bool
}

func (k *keeper) serve(spec *keeperSpec) {
	died := make(chan os.Signal, 1)
	signal.Notify(died, syscall.SIGCHLD)
	requests := make(chan byte)
	gone := k.owner.end()
	go func() {
		defer close(requests)
		for b := make([]byte, 1); ; {
			if n, err := k.line.Read(b); n != 1 || err != nil {
				return
			}
			requests <- b[0]
		}
	}()
	own := &brood{look: k.members, killing: make(chan struct{}), emptied: make(chan struct{})}
	stopper := newStopper(own, spec.plan, k.leader.PID, slog.New(slog.DiscardHandler))
	stopper.silent = true
	killing := own.killing
	var stopped chan struct{}
	var again <-chan time.Time
	pause, orphaned := time.Millisecond, false
	for {
		k.look()
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
			// A child of one that may not be killed is adopted without an event.
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
			unix.Shutdown(0, unix.SHUT_RD) // nobody has anything to say any more
		case request, ok := <-requests:
			switch {
			case ok:
				k.obey(request)
			default:
				requests, orphaned = nil, true
				if !k.letGo && !k.mayLeave(false) {
					stopped = stopper.done
					go stopper.run()
				}
			}
		}
	}
}

// lastKill kills who is left.
func (k *keeper) lastKill() {
	k.killing = true
	k.look()
}

// brood is the run as a stopper in the keeper's process sees it.
type brood struct {
	look                func() ([]proctree.Process, error)
	killOnce, emptyOnce sync.Once
	killing, emptied    chan struct{}
}

func (b *brood) signal(sigs ...os.Signal) error { return signalEach(b.look, sigs...) }

func (b *brood) kill() error {
	b.killOnce.Do(func() { close(b.killing) })
	return nil
}

func (b *brood) members() ([]proctree.Process, error) {
	return seen(func() ([]proctree.Process, bool, error) {
		rows, err := b.look()
		select {
		case <-b.emptied:
			return rows, true, err
		default:
			return rows, false, err
		}
	})
}

func (b *brood) empty(ctx context.Context) error {
	select {
	case <-b.emptied:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// mapped: there are no maps of ids here.
func mapped(*syscall.SysProcAttr) bool { return false }
