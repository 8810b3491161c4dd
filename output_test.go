package corral

import (
	"errors"
	"os"
	"testing"
	"time"
)

// slowWriter takes a line, and returns when it is told to.
type slowWriter struct{ taken, release chan struct{} }

func (w slowWriter) Write(p []byte) (int, error) {
	w.taken <- struct{}{}
	<-w.release
	return len(p), nil
}

// TestFlushAfterFlush: copying goes on after a flush that comes after one which was not
// waited for, in whatever order the copying sees the second.
func TestFlushAfterFlush(t *testing.T) {
	r, w, err := os.Pipe()
	if errors.Is(err, errors.ErrUnsupported) {
		t.Skip("SKIPPED: there are no pipes here")
	}
	if err != nil {
		t.Fatal(err)
	}
	if r.SetReadDeadline(time.Time{}) != nil {
		t.Skip("SKIPPED: pipes have no deadlines here")
	}
	defer w.Close()
	slow := slowWriter{make(chan struct{}), make(chan struct{})}
	o := newOutput(r, r, slow, 0)
	o.flushes = new(flushes)
	ended := make(chan error, 1)
	go func() { ended <- o.copy() }()
	for range 2000 {
		w.WriteString("a")
		select {
		case <-slow.taken:
		case err := <-ended:
			t.Fatalf("copying has ended: %v", err)
		}
		o.flush() // and does not wait
		go func() { slow.release <- struct{}{} }()
		if done := o.flush(); done != nil {
			<-done
		}
	}
	w.Close()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
