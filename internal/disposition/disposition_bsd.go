//go:build darwin || freebsd

package disposition

import (
	"os"
	"os/signal"
	"syscall"
	"time"
)

// StopSelf stops this process, and returns when it goes on. It does so by SIGSTOP: the
// default of SIGTSTP cannot be had once Go's runtime has a handler for it, which
// os/signal.Reset leaves where it is, to do nothing. So it also stops a process whose
// group is orphaned, and Ctrl-Z does not.
func StopSelf() {
	continued := make(chan os.Signal, 1)
	signal.Notify(continued, syscall.SIGCONT)
	defer signal.Stop(continued)
	syscall.Kill(os.Getpid(), syscall.SIGSTOP)
	select {
	case <-continued:
	case <-time.After(time.Second):
	}
}

// StopGroup stops the rest of this process's group as Ctrl-Z does by default, and then
// this process as StopSelf does.
func StopGroup() {
	group := syscall.Getpgrp()
	if group <= 1 {
		return
	}
	own := make(chan os.Signal, 1)
	signal.Notify(own, syscall.SIGTSTP)
	defer signal.Stop(own)
	syscall.Kill(-group, syscall.SIGTSTP)
	select {
	case <-own:
	case <-time.After(time.Second):
	}
	StopSelf()
}
