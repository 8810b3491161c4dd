//go:build linux || darwin || freebsd || windows

package main

import (
	"os"
	"os/signal"
	"slices"
	"sync"
	"syscall"
	"time"
)

// inbox has the signals that corral gets during a run, and remembers which.
type inbox struct {
	passed chan os.Signal // to be answered

	wanted []os.Signal
	mu     sync.Mutex
	had    map[os.Signal]bool
	news   chan struct{} // has an element if there is more
}

func listenTo(wanted []os.Signal) *inbox {
	in := &inbox{
		passed: make(chan os.Signal, 64), wanted: wanted,
		had: make(map[os.Signal]bool), news: make(chan struct{}, 1),
	}
	all := make(chan os.Signal, 64)
	signal.Notify(all, wanted...)
	go func() {
		for sig := range all {
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

// got reports whether corral has got a signal that has ended the command. A terminal
// sends it to both at once, so that it may still be on its way.
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
