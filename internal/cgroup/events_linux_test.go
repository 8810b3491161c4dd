package cgroup

import (
	"context"
	"errors"
	"os"
	"runtime"
	"slices"
	"testing"
	"time"
)

func TestEmptyContext(t *testing.T) {
	d := create(t)
	start(t, d, idle)
	reason := errors.New("reason")
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	for range 2 { // cancelled meanwhile, and before
		time.AfterFunc(time.Millisecond, func() { cancel(reason) })
		if err := d.AwaitEmpty(ctx); err != reason {
			t.Errorf("error %v", err)
		}
	}
}

// TestEmptyShared: no one that waits misses the end, however many wait, and look.
func TestEmptyShared(t *testing.T) {
	d := create(t)
	c := start(t, d, idle)
	ctx, cancel := context.WithTimeout(t.Context(), soon)
	defer cancel()
	done := make(chan error)
	const waiting = 8
	for range waiting {
		go func() { done <- d.AwaitEmpty(ctx) }()
	}
	looking := make(chan struct{})
	go func() {
		defer close(looking)
		for ctx.Err() == nil {
			d.Populated()
		}
	}()
	c.Process.Kill()
	for range waiting {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	cancel()
	<-looking
}

// TestEmptyRemoved: the end is not missed if the cgroup is removed before the
// kernel reports it, which it does not do at all then.
func TestEmptyRemoved(t *testing.T) {
	for range 20 {
		d := create(t)
		c := start(t, d, "echo ready; exec sleep 0.002")
		done := make(chan error, 1)
		ctx, cancel := context.WithTimeout(t.Context(), soon)
		go func() { done <- d.AwaitEmpty(ctx) }()
		c.Wait()
		for os.Remove(d.Path()) != nil && ctx.Err() == nil {
			runtime.Gosched()
		}
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		cancel()
	}
}

func TestEmptyLatency(t *testing.T) {
	const enough = 20
	var all []time.Duration
	for range enough {
		d := create(t)
		c := start(t, d, idle)
		ctx, cancel := context.WithTimeout(t.Context(), soon)
		done := make(chan time.Time, 1)
		go func() {
			d.AwaitEmpty(ctx)
			done <- time.Now()
		}()
		killed := time.Now()
		c.Process.Kill()
		all = append(all, (<-done).Sub(killed))
		cancel()
	}
	slices.Sort(all)
	t.Logf("median %v, most %v", all[enough/2], all[enough-1])
	if all[enough/2] > 100*time.Millisecond {
		t.Errorf("took %v", all)
	}
}
