package corral

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// TestJustStarted: who stops or signals a run while it is being started waits for that,
// some seconds if need be; and who looks is told soon.
func TestJustStarted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &listing{started: make(chan struct{}), ended: make(chan struct{})}
		s := steering{&run{listing: l}}
		if phase, _, err := s.Look(); phase != "starting" || err != nil {
			t.Errorf("it is %q, %v", phase, err)
		}
		time.AfterFunc(5*time.Second, func() { close(l.started) })
		if err := s.Signal(-1); errors.Is(err, errNotStarted) {
			t.Error(err)
		}
		l.started = make(chan struct{})
		time.AfterFunc(time.Second, func() { close(l.ended) })
		began := time.Now()
		if err := s.Stop(0, 0); !errors.Is(err, errNotStarted) || time.Since(began) > time.Second {
			t.Errorf("of a run that could not be started: %v, after %v", err, time.Since(began))
		}
	})
}
