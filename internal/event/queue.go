package event

import (
	"sync"
	"time"
)

// Queue hands items over to whoever may take as long as they like for one, panic, or
// never return. Putting one in takes no time. A goroutine hands them over, in their
// order, which is there only as long as there are any.
type Queue[T any] struct {
	// Deliver delivers an item, with the number of those that have been lost before
	// it. It returns how many are to be counted as lost after it: none if the item
	// has got through.
	Deliver func(item T, lost int) int

	mu    sync.Mutex
	items []T
	lost  int
	busy  bool
	idle  chan struct{} // closed when it is not busy any more; nil if nobody waits
}

// limit is how many items wait at most.
const limit = 4096

// Put puts an item in. If there are too many, the item is lost, unless it is the
// last one, which says how many are.
func (q *Queue[T]) Put(item T, last bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.items) >= limit && !last {
		q.lost++
		return
	}
	q.items = append(q.items, item)
	if !q.busy {
		q.busy = true
		go q.work()
	}
}

// work delivers until there is nothing left.
func (q *Queue[T]) work() {
	done := false
	defer func() {
		if !done { // Deliver has ended the goroutine: runtime.Goexit
			go q.work()
		}
	}()
	for q.next() {
	}
	done = true
}

// next delivers one item. It returns false if there is none.
func (q *Queue[T]) next() (more bool) {
	q.mu.Lock()
	if len(q.items) == 0 {
		q.items = nil
		q.busy = false
		if q.idle != nil {
			close(q.idle)
			q.idle = nil
		}
		q.mu.Unlock()
		return false
	}
	item, lost := q.items[0], q.lost
	clear(q.items[:1])
	q.items, q.lost = q.items[1:], 0
	q.mu.Unlock()
	more = true
	left := lost + 1 // if Deliver panics
	defer func() {
		recover()
		q.mu.Lock()
		defer q.mu.Unlock()
		q.lost += left
	}()
	left = q.Deliver(item, lost)
	return more
}

// Flush waits until all has been delivered, but no longer than d. It returns how many
// have been lost, and have not been told of, or have not been delivered.
func (q *Queue[T]) Flush(d time.Duration) int {
	q.mu.Lock()
	if !q.busy {
		defer q.mu.Unlock()
		return q.lost
	}
	if q.idle == nil {
		q.idle = make(chan struct{})
	}
	idle := q.idle
	q.mu.Unlock()
	late := time.NewTimer(d)
	defer late.Stop()
	select {
	case <-idle:
	case <-late.C:
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	lost := q.lost + len(q.items)
	if q.busy {
		lost++ // the one that is being delivered
	}
	return lost
}
