//go:build linux || darwin || freebsd || windows

package main

import (
	"runtime"
	"sync"
)

// reserve has what a stop needs before there is a command that could leave nothing
// of it: threads, and room for descriptors.
func reserve(lifelines int) error {
	if err := checkDescriptors(lifelines); err != nil {
		return &exitError{statusOwn, err}
	}
	reserveThreads(lifelines)
	return nil
}

// reserveThreads makes threads. Go's runtime makes one when a goroutine is to go on
// while others are in system calls that take their time, keeps it for the next time,
// and ends the process if there cannot be one more: if a command forks until it fails,
// by the limit of a user or of a control group that corral is in as well.
func reserveThreads(lifelines int) {
	// So many run at the same time at most, and so many may be in a system call: to wait
	// for the leader, for the last member to go and for signals, to send some, to look,
	// and two for each lifeline.
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
