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
