//go:build unix

package corraltest

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/corral-run/corral"
)

// weakest is the weakest containment in which the tests have the terminal.
const weakest = corral.Keeper

// catch catches what would end this process, or is for the tests.
func catch() <-chan os.Signal {
	c := make(chan os.Signal, 16)
	for _, sig := range []os.Signal{
		syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGUSR1, syscall.SIGUSR2,
	} {
		if !signal.Ignored(sig) {
			signal.Notify(c, sig)
		}
	}
	return c
}

// pass passes signals on to the test binary. What is typed at a terminal has reached
// that already; a second Ctrl-C stops it.
func pass(signals <-chan os.Signal, cmd *corral.Cmd) {
	typed := false
	for sig := range signals {
		if sig == syscall.SIGINT || sig == syscall.SIGQUIT {
			if tty, err := os.Open("/dev/tty"); err == nil {
				tty.Close()
				if sig == syscall.SIGINT && typed {
					go cmd.Stop(context.Background())
				}
				if typed = true; sig == syscall.SIGINT {
					continue
				}
			}
		}
		cmd.Process.Signal(sig)
	}
}

// dieBy ends this process by the signal that has ended the tests. It returns if that
// would make more noise than they have made.
func dieBy(state *os.ProcessState) {
	status, ok := state.Sys().(syscall.WaitStatus)
	if !ok {
		return
	}
	switch sig := status.Signal(); sig {
	case syscall.SIGKILL, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP:
		signal.Reset(sig)
		syscall.Kill(os.Getpid(), sig)
		select {} // until it arrives
	}
}
