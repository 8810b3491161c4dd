//go:build linux || darwin || freebsd || windows

package main

import (
	"context"
	"os"
	"os/signal"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/corral-run/corral"
)

// inbox receives the signals that corral gets during a run, passes them on to be
// answered, and remembers them.
type inbox struct {
	passed chan os.Signal // to be answered
	all    chan os.Signal

	wanted []os.Signal
	mu     sync.Mutex
	had    map[os.Signal]bool
	news   chan struct{} // has an element if there is more
}

func newInbox(wanted []os.Signal) *inbox {
	in := &inbox{
		passed: make(chan os.Signal, 64), all: make(chan os.Signal, 64), wanted: wanted,
		had: make(map[os.Signal]bool), news: make(chan struct{}, 1),
	}
	signal.Notify(in.all, wanted...)
	go func() {
		for sig := range in.all {
			in.mu.Lock()
			in.had[sig] = true
			in.mu.Unlock()
			select {
			case in.news <- struct{}{}:
			default:
			}
			in.passed <- sig
		}
	}()
	return in
}

// got reports whether corral has got the signal that ended the command. A terminal
// sends it to both at once, so it may still be on its way.
func (in *inbox) got(sig syscall.Signal) bool {
	if !slices.Contains(in.wanted, os.Signal(sig)) {
		return false
	}
	late := time.After(50 * time.Millisecond)
	for {
		in.mu.Lock()
		had := in.had[sig]
		in.mu.Unlock()
		if had {
			return true
		}
		select {
		case <-in.news:
		case <-late:
			return false
		}
	}
}

// reaction is what corral does about a signal that it gets.
type reaction int

const (
	disregard  reaction = iota
	terminate           // run the stop plan
	interrupt           // pass it on; the second one is meant for corral, too
	hangUp              // run the stop plan if the terminal is gone, else pass it on
	pause               // stop corral when the command has stopped
	passOn              // to all members
	passOnOnce          // to all members, unless the terminal has done so, or is not theirs
)

// A SIGTERM that comes within atOnce of one that was heeded is the same demand, made
// by several signals or senders. Only tests change it.
var atOnce = time.Second

// relay answers the signals that corral gets during a run.
//
// The first Ctrl-C is for the command, which may have its own idea of it (an
// editor, a shell, a debugger). Whoever asks a second time wants it to end, and
// whoever asks after that wants it to end now. That the terminal is gone may be
// said by several signals: that is not asking again.
func relay(cmd *corral.Cmd, signals chan os.Signal, tty *terminal) {
	stop := sync.OnceFunc(func() { go cmd.Stop(context.Background()) })
	interrupted, asked := false, false
	var terminated time.Time
	insist := func() {
		if asked {
			cmd.Signal(os.Kill)
			return
		}
		asked = true
		stop()
	}
	suspend := suspender(cmd)
	for sig := range signals {
		switch reactionTo(sig) {
		case terminate:
			if time.Since(terminated) > atOnce {
				terminated = time.Now()
				insist()
			}
		case interrupt:
			if interrupted {
				insist()
			} else if interrupted = true; !delivered(cmd.Process.Pid) {
				cmd.Signal(sig)
			}
		case passOnOnce:
			if cmd.PTY != nil {
				resize(cmd.PTY)
			} else if !delivered(cmd.Process.Pid) {
				cmd.Signal(sig)
			}
		case hangUp:
			switch {
			case !tty.hungUp():
				cmd.Signal(sig)
			case !slices.Contains(cmd.Lifelines, corral.LifelineTTY): // which sees to it
				stop()
			}
		case pause:
			suspend()
		case passOn:
			cmd.Signal(sig)
		}
	}
}
