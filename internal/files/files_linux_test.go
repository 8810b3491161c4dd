package files

import (
	"os"
	"os/signal"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestHasOtherEnd: signals, which Go's runtime sends to its own threads, do not
// change what HasOtherEnd says of a pipe.
func TestHasOtherEnd(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	got := make(chan os.Signal, 1)
	signal.Notify(got, unix.SIGURG) // harmless, and the runtime's own
	defer signal.Stop(got)
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	thread := unix.Gettid()
	end := make(chan struct{})
	defer close(end)
	for range runtime.NumCPU() {
		go func() {
			for {
				select {
				case <-end:
					return
				default:
					unix.Tgkill(os.Getpid(), thread, unix.SIGURG)
				}
			}
		}()
	}
	n := 0
	for began := time.Now(); time.Since(began) < 300*time.Millisecond; n++ {
		if !HasOtherEnd(r) {
			t.Fatalf("after %d times: a pipe that is open is not held", n)
		}
	}
	w.Close()
	if HasOtherEnd(r) {
		t.Error("a pipe that is closed is held")
	}
}
