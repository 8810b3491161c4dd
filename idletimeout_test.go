//go:build linux || darwin || freebsd || windows

package corral

import (
	"io"
	"testing"
	"testing/synctest"
	"time"
)

// TestIdleTime: time counts from the start and from each output; not while output is
// being passed on; and not if the timer is so late that nobody can have been on time.
func TestIdleTime(t *testing.T) {
	const limit = 10 * time.Second
	for _, tt := range []struct {
		name   string
		stream func(w *io.PipeWriter, taken chan<- struct{}) // what is written, and when it is taken
		want   time.Duration
	}{
		{"nothing", func(*io.PipeWriter, chan<- struct{}) {}, limit},
		{"now and then", func(w *io.PipeWriter, taken chan<- struct{}) {
			for range 5 {
				time.Sleep(9 * time.Second)
				w.Write([]byte("x"))
				taken <- struct{}{}
			}
		}, 45*time.Second + limit},
		{"a slow writer", func(w *io.PipeWriter, taken chan<- struct{}) {
			time.Sleep(time.Second)
			w.Write([]byte("x"))
			time.Sleep(99 * time.Second)
			taken <- struct{}{}
		}, 100*time.Second + limit},
		{"nothing is written", func(w *io.PipeWriter, taken chan<- struct{}) {
			time.Sleep(time.Second)
			w.Close()
		}, limit},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began, stopped := time.Now(), make(chan time.Duration)
				i := &idle{limit: limit}
				i.start(func() { stopped <- time.Since(began) })
				r, w := io.Pipe()
				taken := make(chan struct{})
				go tt.stream(w, taken)
				go func() {
					from, done := i.watch(r)
					io.Copy(writerFunc(func(b []byte) (int, error) {
						<-taken
						return len(b), nil
					}), from)
					done()
				}()
				if got := <-stopped; got != tt.want {
					t.Errorf("stopped after %v, want %v", got, tt.want)
				}
				i.stop()
				w.Close()
			})
		})
	}
}

// TestIdleTimeOver: once the run is over nothing is stopped any more; nor is it if
// the timer comes late.
func TestIdleTimeOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := &idle{limit: time.Second}
		i.start(func() { t.Error("stopped") })
		i.stop()
		time.Sleep(time.Minute)
		if i.expired() {
			t.Error("expired when the run is over")
		}
		late := &idle{limit: time.Second}
		late.start(func() {})
		late.timer.Stop()
		time.Sleep(3 * time.Second)
		if late.expired() {
			t.Error("expired, although it was asked so late")
		}
		time.Sleep(500 * time.Millisecond)
		late.stop()
		(*idle)(nil).start(nil) // a run without a limit
		(*idle)(nil).stop()
	})
}
