//go:build linux || darwin || freebsd || windows

package main

import (
	"runtime"
	"sync"
)

// reserve sees to what a stop needs before there is a command that could use it up:
// threads, and room for descriptors.
// writers is how many threads may write all the while.
func reserve(lifelines, writers int) error {
	if err := checkDescriptors(lifelines); err != nil {
		return &exitError{statusOwn, err}
	}
	reserveThreads(2*lifelines + writers)
	return nil
}

// reserveThreads makes threads, which Go's runtime keeps. It makes one when a
// goroutine could run while others are in long system calls, and ends the process
// if it cannot: where a command forks until it fails, by the limit of a user, or of
// a control group that corral is in as well.
func reserveThreads(more int) {
	// No more run at the same time, and no more are in a system call: to wait for
	// the leader, for the last member and for signals, to send some, to look, two for
	// each lifeline, and those of who writes.
	const running, waiting = 2, 6
	if runtime.GOMAXPROCS(0) > running {
		runtime.GOMAXPROCS(running)
	}
	n := running + waiting + more
	var met, left sync.WaitGroup
	met.Add(n)
	for range n {
		left.Go(func() {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			met.Done()
			met.Wait()
		})
	}
	left.Wait()
}
