//go:build !unix

package corraltest

import (
	"context"
	"os"
	"os/signal"

	"github.com/corral-run/corral"
)

const weakest = corral.Auto

// catch catches what would end this process.
func catch() <-chan os.Signal {
	c := make(chan os.Signal, 1)
	signal.Notify(c, os.Interrupt)
	return c
}

// pass stops the run when this process is interrupted.
func pass(signals <-chan os.Signal, cmd *corral.Cmd) {
	for range signals {
		go cmd.Stop(context.Background())
	}
}

func dieBy(*os.ProcessState) {}
