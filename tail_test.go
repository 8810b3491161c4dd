package corral

import (
	"bytes"
	"fmt"
	"math/rand"
	"runtime"
	"sync"
	"testing"
)

// TestTail writes pieces of all sizes to Tails of all sizes, and compares what Since
// returns for each offset with what has been written.
func TestTail(t *testing.T) {
	random := rand.New(rand.NewSource(1))
	for limit := 1; limit <= 40; limit++ {
		tail := &Tail{Limit: limit}
		var all []byte
		for range 60 {
			p := make([]byte, random.Intn(3*limit/2+2))
			random.Read(p)
			if n, err := tail.Write(p); n != len(p) || err != nil {
				t.Fatalf("Write: %d, %v", n, err)
			}
			tail.Limit = 1000 // has no effect
			all = append(all, p...)
			if cap(tail.ring) > limit {
				t.Fatalf("limit %d: %d bytes of memory", limit, cap(tail.ring))
			}
			for offset := -1; offset <= len(all)+1; offset++ {
				from := min(max(offset, 0), len(all))
				want := all[max(from, len(all)-limit):]
				got, lost, next := tail.Since(int64(offset))
				if !bytes.Equal(got, want) || lost != int64(max(0, len(all)-limit-from)) || next != int64(len(all)) {
					t.Fatalf("limit %d, %d written, Since(%d): %d bytes, %d lost, next %d", limit, len(all), offset, len(got), lost, next)
				}
			}
		}
	}
	if tail := new(Tail); len(tail.Bytes()) != 0 {
		t.Error("an unused Tail has something")
	} else if fmt.Fprint(tail, string(make([]byte, 2*defaultTail))); len(tail.Bytes()) != defaultTail {
		t.Errorf("a Tail without Limit keeps %d bytes", len(tail.Bytes()))
	}
}

// TestTailConcurrent: readers that follow get every byte, or are told that it is lost.
func TestTailConcurrent(t *testing.T) {
	const size, writers, readers = 1 << 20, 4, 4
	tail := &Tail{Limit: 4 << 10}
	var writing, reading sync.WaitGroup
	over := make(chan struct{})
	for range writers {
		writing.Go(func() {
			for n := 0; n < size/writers; n += 64 {
				tail.Write(make([]byte, 64))
			}
		})
	}
	for range readers {
		reading.Go(func() {
			var got, offset int64
			for last := false; ; {
				data, lost, next := tail.Since(offset)
				got, offset = got+int64(len(data))+lost, next
				if last {
					break
				}
				select {
				case <-over:
					last = true
				default:
					runtime.Gosched() // WebAssembly has one thread, and interrupts nobody
				}
			}
			if got != size || offset != size {
				t.Errorf("%d bytes, at %d, want %d", got, offset, size)
			}
		})
	}
	writing.Wait()
	close(over)
	reading.Wait()
}
