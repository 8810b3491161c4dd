package wakepoll

import (
	"context"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestNoDescriptor: without a descriptor for the wake-up, the context still ends
// the wait, and so do the descriptors waited for, and the timeout.
func TestNoDescriptor(t *testing.T) {
	var ends [2]int
	if err := unix.Pipe2(ends[:], unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	var before unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &before); err != nil {
		t.Fatal(err)
	}
	none := before
	none.Cur = 0
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &none); err != nil {
		t.Fatal(err)
	}
	defer unix.Setrlimit(unix.RLIMIT_NOFILE, &before)
	if _, err := newWake(); err == nil {
		t.Fatal("there is a descriptor")
	}

	fds := []unix.PollFd{{Fd: int32(ends[0]), Events: unix.POLLIN}}
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(3*slice*time.Millisecond, cancel)
	if n, err := Poll(ctx, fds, -1); n != 0 || err != nil || ctx.Err() == nil {
		t.Errorf("got %d, error %v, context %v", n, err, ctx.Err())
	}
	began := time.Now()
	const timeout = 5 * slice / 2 // not a whole number of slices
	if n, err := Poll(t.Context(), fds, timeout); n != 0 || err != nil || time.Since(began) < timeout*time.Millisecond {
		t.Errorf("got %d, error %v, after %v", n, err, time.Since(began))
	}
	time.AfterFunc(3*slice*time.Millisecond, func() { unix.Close(ends[1]) })
	if n, err := Poll(t.Context(), fds, -1); n != 1 || err != nil || fds[0].Revents == 0 {
		t.Errorf("got %d, error %v, %+v", n, err, fds)
	}
}
