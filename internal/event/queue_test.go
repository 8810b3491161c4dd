package event

import (
	"context"
	"fmt"
	"log/slog"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// TestQueue: items come in their order, each once, whoever puts them in, and no
// goroutine is left when there are none.
func TestQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // fails if a goroutine is left
		var got []int
		q := &Queue[int]{Deliver: func(n, lost int) int {
			if lost > 0 {
				t.Errorf("%d are lost before %d", lost, n)
			}
			got = append(got, n)
			return 0
		}}
		var want []int
		for n := range 1000 {
			q.Put(n, false)
			want = append(want, n)
			if n%100 == 0 {
				q.Flush(time.Minute)
			}
		}
		if lost := q.Flush(time.Minute); lost != 0 || !slices.Equal(got, want) {
			t.Errorf("%d are lost, %d of %d have come", lost, len(got), len(want))
		}
	})
}

// TestQueueStuck: whoever takes nothing holds up nobody for longer than a flush says.
// What is too much is counted, and the next that gets through says so; the last one
// always has room.
func TestQueueStuck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hang := make(chan bool)
		var got []int
		losses := make(map[int]int)
		q := &Queue[int]{Deliver: func(n, lost int) int {
			<-hang
			got = append(got, n)
			losses[n] = lost
			return 0
		}}
		const more = 10
		q.Put(0, false)
		synctest.Wait() // it is being delivered
		for n := range limit + more {
			q.Put(n+1, false)
		}
		q.Put(-1, true)
		began := time.Now()
		if lost := q.Flush(time.Second); lost != limit+more+2 || time.Since(began) != time.Second {
			t.Errorf("after %v %d are lost", time.Since(began), lost)
		}
		close(hang)
		if lost := q.Flush(time.Second); lost != 0 || len(got) != limit+2 || got[len(got)-1] != -1 {
			t.Errorf("%d are lost, %d have come", lost, len(got))
		}
		if losses[1] != more { // the first one that is taken out after that
			t.Errorf("the losses are told as %v", losses[1])
		}
	})
}

// TestQueueDeliverFails: one that is refused, that panics, or that ends the goroutine
// is counted, and the next one told.
func TestQueueDeliverFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var got []string
		q := &Queue[string]{Deliver: func(how string, lost int) int {
			switch how {
			case "refuse":
				return lost + 1
			case "panic":
				panic(how)
			case "nil":
				panic(nil)
			case "exit":
				runtime.Goexit()
			}
			got = append(got, fmt.Sprint(how, lost))
			return 0
		}}
		for _, how := range []string{"a", "refuse", "b", "panic", "c", "exit", "d", "panic", "exit", "nil", "refuse", "e", "exit"} {
			q.Put(how, false)
		}
		if lost := q.Flush(time.Minute); lost != 1 || strings.Join(got, " ") != "a0 b1 c1 d1 e4" {
			t.Errorf("%d are lost: %q", lost, got)
		}
	})
}

// TestQueueConcurrent: many put in while others flush.
func TestQueueConcurrent(t *testing.T) {
	var mu sync.Mutex
	got := 0
	q := &Queue[int]{Deliver: func(n, lost int) int {
		mu.Lock()
		defer mu.Unlock()
		got += n + lost
		return 0
	}}
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 400 {
				q.Put(1, false)
				q.Flush(time.Minute)
			}
		})
	}
	all.Wait()
	if lost := q.Flush(time.Minute); got+lost != 8*400 {
		t.Errorf("%d have come, %d are lost", got, lost)
	}
}

// slow is a handler that waits.
type slow struct {
	slog.Handler
	hang chan bool
}

func (s slow) Enabled(context.Context, slog.Level) bool { <-s.hang; return true }

// TestLoggerStuck: not even the question whether to log holds anybody up.
func TestLoggerStuck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := slow{slog.DiscardHandler, make(chan bool)}
		l := NewLogger(h)
		began := time.Now()
		slog.New(l).Info("said")
		slog.New(l).With("a", 1).Info("said")
		l.Tell(new(RunEnded), slog.LevelInfo, "said")
		if !time.Now().Equal(began) {
			t.Error("it takes time to log")
		}
		l.Flush(time.Second)
		if took := time.Since(began); took != time.Second {
			t.Errorf("a flush takes %v", took)
		}
		close(h.hang)
	})
}
