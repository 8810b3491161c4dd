package corral

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"sync"
	"time"
)

// IdleError is returned by Wait when Cmd.IdleTimeout has ended the run. It is also a
// context.DeadlineExceeded, as the error of Cmd.Timeout is.
type IdleError struct{ IdleTimeout time.Duration }

func (e *IdleError) Error() string { return fmt.Sprintf("corral: no output for %v", e.IdleTimeout) }

func (e *IdleError) Unwrap() error { return context.DeadlineExceeded }

// checkIdle returns why the command's output could not be seen, nil if it can.
func (c *Cmd) checkIdle() error {
	const see = "corral: IdleTimeout needs output that Corral copies"
	if c.PTY != nil {
		if c.Stdout == nil {
			return errors.New(see + ": set Stdout; what the caller reads from the PTY it cannot see")
		}
		return nil
	}
	if c.Stdout == nil && c.Stderr == nil {
		return errors.New(see + ": Stdout and Stderr are nil")
	}
	for _, stream := range []struct {
		name string
		to   io.Writer
	}{{"Stdout", c.Stdout}, {"Stderr", c.Stderr}} {
		f, isFile := stream.to.(*os.File)
		switch {
		case !isFile:
		case slices.Contains(c.stdio.child, io.Closer(f)):
			return fmt.Errorf("%s: %s is a pipe that the caller reads; set %s to an io.Writer", see, stream.name, stream.name)
		case c.OutputLimit == 0:
			return fmt.Errorf("%s: %s is a file, which the command writes to itself; hide it in another io.Writer", see, stream.name)
		}
	}
	return nil
}

// idle tells how long a run has written nothing. A nil one tells nothing.
type idle struct {
	limit time.Duration

	mu      sync.Mutex
	last    time.Time // when there was output, or it had all been passed on
	passing int       // streams of which something has been read and not passed on yet
	due     time.Time // when timer fires
	timer   *time.Timer
	over    bool
}

// start begins to count. When the time is up, it calls stop.
func (i *idle) start(stop func()) {
	if i == nil {
		return
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.last = time.Now()
	i.due = i.last.Add(i.limit)
	i.timer = time.AfterFunc(i.limit, func() {
		if i.expired() {
			stop()
		}
	})
}

func (i *idle) stop() {
	if i == nil {
		return
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.over = true; i.timer != nil {
		i.timer.Stop()
	}
}

// expired is called when the timer has fired. It reports whether the time is up, and
// else sets the timer anew.
//
// A command whose output nobody takes is not idle, but waits. And if the timer is so
// late that the owner must have been stopped meanwhile, the command probably was,
// too.
func (i *idle) expired() bool {
	const late = time.Second
	i.mu.Lock()
	defer i.mu.Unlock()
	now := time.Now()
	switch {
	case i.over:
		return false
	case i.passing > 0 || now.Sub(i.due) > late:
		i.last = now
	case now.Sub(i.last) >= i.limit:
		return true
	}
	i.due = i.last.Add(i.limit)
	i.timer.Reset(i.due.Sub(now))
	return false
}

// watch returns from as one that tells i of what is read. done says that nothing more
// is passed on.
func (i *idle) watch(from io.Reader) (watched io.Reader, done func()) {
	if i == nil {
		return from, func() {}
	}
	w := &watchedReader{from: from, idle: i}
	return w, func() { w.tell(false) }
}

// watchedReader is a stream that is being copied. Whoever reads it has passed on what
// an earlier Read has returned.
type watchedReader struct {
	from    io.Reader
	idle    *idle
	passing bool
}

func (w *watchedReader) Read(b []byte) (int, error) {
	w.tell(false)
	n, err := w.from.Read(b)
	w.tell(n > 0)
	return n, err
}

func (w *watchedReader) tell(passing bool) {
	if passing == w.passing {
		return
	}
	w.passing = passing
	w.idle.mu.Lock()
	defer w.idle.mu.Unlock()
	w.idle.last = time.Now()
	if passing {
		w.idle.passing++
	} else {
		w.idle.passing--
	}
}
