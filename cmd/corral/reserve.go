//go:build linux || darwin || freebsd || windows

package main

import (
	"runtime"
	"sync"
)

// reserve sees to what a stop needs before there is a command that could use it up:
// threads, and room for descriptors.
func reserve(lifelines int) error {
	if err := checkDescriptors(lifelines); err != nil {
		return &exitError{statusOwn, err}
	}
	reserveThreads(lifelines)
	return nil
}

// reserveThreads makes threads, which Go's runtime keeps. It makes one when a
// goroutine could run while others are in long system calls, and ends the process
// if it cannot: where a command forks until it fails, by the limit of a user, or of
// a control group that corral is in as well.
func reserveThreads(lifelines int) {
	// No more run at the same time, and no more are in a system call: to wait for
	// the leader, for the last member and for signals, to send some, to look, and
	// two for each lifeline.
	const running, waiting = 2, 6
	if runtime.GOMAXPROCS(0) > running {
		runtime.GOMAXPROCS(running)
	}
	n := running + waiting + 2*lifelines
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
