//go:build darwin || freebsd || windows

package disposition

import (
	"os"
	"os/signal"
	"slices"
	"syscall"
	"time"
)

// Ignore makes sig do nothing. A program that is started from here gets the default
// back.
func Ignore(sig syscall.Signal) { signal.Notify(make(chan os.Signal, 1), sig) }

// Ignored reports what the Go runtime knows of: SIGHUP and SIGINT.
func Ignored(sig syscall.Signal) bool { return signal.Ignored(sig) }

// EndLike ends the process the way status says that another one has ended. It
// repeats only SIGHUP, SIGINT, SIGTERM and SIGKILL: for others, Go's runtime does
// nothing or prints a trace, so the exit status is a shell's, 128+n.
func EndLike(status syscall.WaitStatus) {
	if !status.Signaled() {
		syscall.Exit(status.ExitStatus())
	}
	sig := status.Signal()
	if slices.Contains([]syscall.Signal{syscall.SIGHUP, syscall.SIGINT, syscall.SIGTERM, syscall.SIGKILL}, sig) {
		signal.Reset(sig)
		if self, err := os.FindProcess(os.Getpid()); err == nil && self.Signal(sig) == nil {
			time.Sleep(time.Second) // it is on its way
		}
	}
	syscall.Exit(128 + int(sig))
}
