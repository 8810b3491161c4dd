package wakepoll

import (
	"context"
	"os"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestSignals: a thread that gets signals all the time waits as long as it should,
// and no longer.
func TestSignals(t *testing.T) {
	// The storm is over when Poll returns. A Poll that begins anew with each signal
	// outlasts it, and a busy machine does not.
	const timeout, storm = 100 * time.Millisecond, time.Minute
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	tid := unix.Gettid()
	over := make(chan struct{})
	stopped := make(chan struct{})
	began := time.Now()
	go func() {
		defer close(stopped)
		for time.Since(began) < storm {
			select {
			case <-over:
				return
			case <-time.After(time.Millisecond):
				unix.Tgkill(os.Getpid(), tid, unix.SIGURG) // which the runtime is used to
			}
		}
	}()
	n, err := Poll(context.Background(), nil, int(timeout.Milliseconds()))
	took := time.Since(began)
	close(over)
	<-stopped
	if n != 0 || err != nil || took < timeout || took >= storm {
		t.Errorf("%d, %v after %v; want 0 after %v", n, err, took, timeout)
	}
}
