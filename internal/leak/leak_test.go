package leak

import (
	"os"
	"os/signal"
	"strings"
	"sync"
	"testing"
	"time"
)

func leaky(end <-chan struct{}) { <-end }

// TestSince: it finds and shows a goroutine that stays, but not one that ends a
// little later, one that was there before, or os/signal's.
func TestSince(t *testing.T) {
	end := make(chan struct{})
	before := Now()
	go leaky(end)
	defer func(was time.Duration) { patience = was }(patience)
	patience = 50 * time.Millisecond
	if err := Since(before); err == nil || !strings.Contains(err.Error(), "1 goroutines are left") || !strings.Contains(err.Error(), "leak.leaky(") {
		t.Errorf("one is left, and Since says %v", err)
	}
	if err := Since(Now()); err != nil {
		t.Errorf("it was there before, and Since says %v", err)
	}
	patience = time.Minute
	time.AfterFunc(50*time.Millisecond, func() { close(end) })
	if err := Since(before); err != nil {
		t.Errorf("it has ended, and Since says %v", err)
	}
	c := make(chan os.Signal, 1)
	signal.Notify(c, os.Interrupt)
	signal.Stop(c)
	if err := Since(before); err != nil {
		t.Errorf("after signal.Notify: %v", err)
	}
}

// TestManyTraces: it misses no goroutine when there are many.
func TestManyTraces(t *testing.T) {
	const many = 2000
	before := Now()
	end := make(chan struct{})
	var all sync.WaitGroup
	for range many {
		all.Go(func() { leaky(end) })
	}
	found := 0
	for name := range Now() {
		if !before[name] {
			found++
		}
	}
	if found < many {
		t.Errorf("%d of %d goroutines found", found, many)
	}
	close(end)
	all.Wait()
}
