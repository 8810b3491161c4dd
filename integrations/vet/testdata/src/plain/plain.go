// Package plain sets none of the fields that have errors of their own.
package plain

import (
	"context"
	"time"

	"github.com/corral-run/corral"
)

func given(cmd *corral.Cmd) bool {
	cmd.WaitDelay = time.Second
	err := cmd.Wait()
	_, ok := err.(*corral.ExitError)
	return ok || err == context.DeadlineExceeded
}

func literal() bool {
	cmd := &corral.Cmd{Path: "true"}
	_, ok := cmd.Run().(*corral.ExitError)
	return ok
}
