package proctree

import (
	"context"
	"errors"
	"os"
	"testing"
	"time"
)

func TestHandle(t *testing.T) {
	c := start(t, "idle")
	if h, err := Open(ID{c.id.PID, c.id.Start - 1}); !errors.Is(err, ErrGone) {
		t.Errorf("Open of an earlier process: %v, error %v", h, err)
	}
	h := open(t, c.id)

	// A done context ends a wait, and the next one can be had.
	cause := errors.New("enough")
	for range 3 {
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(5*time.Millisecond, func() { cancel(cause) })
		if err := h.Wait(ctx); !errors.Is(err, cause) || !errors.Is(err, context.Canceled) {
			t.Fatalf("error %v after cancel", err)
		}
	}

	// Many wait; some of them only for a while.
	const waiters = 8
	results := make(chan error, waiters)
	for i := range waiters {
		ctx := t.Context()
		if i%2 == 0 {
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeout(ctx, time.Millisecond)
			defer cancel()
		}
		go func() { results <- h.Wait(ctx) }()
	}
	for range waiters / 2 {
		if err := <-results; !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("error %v after the deadline", err)
		}
	}
	if err := h.Signal(os.Kill); err != nil {
		t.Fatal(err)
	}
	for range waiters / 2 {
		if err := <-results; err != nil {
			t.Fatal(err)
		}
	}

	// The end counts, whatever else has happened before.
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for range 20 {
		if err := h.Wait(ctx); err != nil {
			t.Fatalf("it has ended, but error %v", err)
		}
	}
	c.end()
	if err := h.Signal(os.Kill); !errors.Is(err, ErrGone) {
		t.Errorf("signal to a reaped process: error %v", err)
	}
	if err := h.Wait(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestWatch(t *testing.T) {
	w, err := NewWatch()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	if err := w.Wait(t.Context()); err != nil {
		t.Errorf("nothing to wait for, but error %v", err)
	}
	children := []*child{start(t, "idle"), start(t, "idle"), start(t, "idle")}
	for _, c := range children {
		if ok, err := w.Add(c.id); !ok || err != nil {
			t.Fatalf("%v, error %v", ok, err)
		}
	}
	children[1].input.Close()
	cause := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	time.AfterFunc(5*time.Millisecond, func() { cancel(cause) })
	if err := w.Wait(ctx); !errors.Is(err, cause) || !errors.Is(err, context.Canceled) {
		t.Errorf("error %v after cancel", err)
	}
	if w.Len() == 0 {
		t.Error("none left")
	}
	for _, c := range children {
		c.input.Close()
	}
	if err := w.Wait(t.Context()); err != nil || w.Len() != 0 {
		t.Errorf("%d left, error %v", w.Len(), err)
	}
}

type fakeWatch struct {
	watch
	n   int
	err error
}

func (w *fakeWatch) len() int { return w.n }

func (w *fakeWatch) add(ID) error { return w.err }

func TestWatchFull(t *testing.T) {
	w := Watch{&fakeWatch{n: maxWatched}}
	if ok, err := w.Add(ID{PID: 1}); ok || err != nil {
		t.Errorf("full: %v, error %v", ok, err)
	}
	w = Watch{&fakeWatch{n: maxWatched - 1}}
	if ok, err := w.Add(ID{PID: 1}); !ok || err != nil {
		t.Errorf("room for one: %v, error %v", ok, err)
	}
}
