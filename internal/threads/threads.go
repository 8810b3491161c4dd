// Package threads has Go's runtime start threads before they are needed. It has few
// imports, so that it can be used when little of a program is initialised.
package threads

import (
	"sync"
	"sync/atomic"
)

// Reserve has the runtime get n threads beside that of the caller, who is to be
// locked to its thread, as init functions are. The runtime starts a thread whenever
// it wants one, also when another has blocked for a while, and ends the program if
// the system has none left. It keeps those that it has. GOMAXPROCS is at least n.
func Reserve(n int) {
	// The runtime makes them because for a moment so many of Go's processors are
	// busy. LockOSThread would make one thread more, at a time of its own.
	var met atomic.Int32
	var done sync.WaitGroup
	for range n {
		done.Go(func() {
			for met.Add(1); met.Load() < int32(n); {
				yield()
			}
		})
	}
	done.Wait()
}
