package corral

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/corral-run/corral/internal/files"
	"github.com/corral-run/corral/internal/headtail"
)

// output is one pipe, or the terminal, being copied to a writer.
type output struct {
	pipe    *os.File
	from    io.Reader // pipe, or the terminal that it is the owner's end of
	to      io.Writer
	limited *headtail.Writer // to, if there is an OutputLimit
	idle    *idle            // who is told of what is read, nil for nobody
	expired atomic.Bool      // finish has set a deadline: what the pipe holds now is all
	kept    atomic.Bool      // likewise, and who has been kept is to go on writing
	flushes *flushes         // nil unless copying may go on after Wait
}

// flushes are requests to have delivered what the pipe holds.
type flushes struct {
	asked atomic.Pointer[chan struct{}] // closed when it has been
	over  chan struct{}                 // closed when the copying is
}

func newOutput(pipe *os.File, from io.Reader, to io.Writer, limit int64) *output {
	o := &output{pipe: pipe, from: from, to: to}
	if _, has := to.(*headtail.Writer); limit <= 0 || has { // Output has one for standard error
		return o
	}
	o.limited = &headtail.Writer{To: to, Limit: limit}
	if f, ok := to.(*os.File); ok {
		o.limited.Gone = func() error { return files.WriteError(f) }
	}
	o.to = o.limited
	return o
}

func (o *output) copy() error {
	from, done := o.idle.watch(o.from)
	_, err := io.Copy(o.to, from)
	for o.flushed(&err) {
		_, err = io.Copy(o.to, from)
	}
	done()
	if o.expired.Load() {
		var pe *fs.PathError
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			err = o.drain()
		case errors.As(err, &pe) && pe.Op == "read" && errors.Is(err, os.ErrClosed):
			err = ErrWaitDelay // where pipes have no deadlines, it was closed instead
		}
	}
	if o.limited != nil && (err == nil || err == ErrWaitDelay) {
		if ferr := o.limited.Flush(); err == nil {
			err = ferr
		}
	}
	if err == ErrWaitDelay && o.kept.Load() {
		return err
	}
	if _, isPTY := o.from.(*terminal); !isPTY || err != nil {
		// A writer's error must not leave the command blocked on a full pipe. A
		// command that has only closed its terminal is not to be hung up on.
		o.pipe.Close()
	}
	return err
}

// flush has what the pipe holds now delivered. Copying goes on after that. Where
// pipes have no deadlines, it does nothing. A Writer that is slow is not waited for any
// longer when late fires.
func (o *output) flush(late <-chan time.Time) {
	done := make(chan struct{})
	o.flushes.asked.Store(&done)
	if o.pipe.SetReadDeadline(time.Unix(1, 0)) != nil {
		o.flushes.asked.Store(nil)
		return
	}
	select {
	case <-done:
	case <-o.flushes.over:
	case <-late:
	}
}

// flushed answers a flush, which has ended the copying with err, and reports whether
// to go on.
func (o *output) flushed(err *error) bool {
	if o.flushes == nil || o.expired.Load() || !errors.Is(*err, os.ErrDeadlineExceeded) {
		return false
	}
	done := o.flushes.asked.Swap(nil)
	if done == nil {
		return false
	}
	o.pipe.SetReadDeadline(time.Time{})
	if o.expired.Load() { // finish may have set its own just before
		close(*done)
		return false
	}
	*err = o.drain()
	open := *err == ErrWaitDelay
	close(*done)
	return open
}

// drain delivers what was written before finish gave up waiting for end-of-file:
// the deadline that finish set also cuts off what is in the pipe.
func (o *output) drain() error {
	data, open, err := files.ReadAvailable(o.pipe)
	if len(data) > 0 { // a writer may take its time also for nothing
		if _, werr := o.to.Write(data); err == nil {
			err = werr
		}
	}
	if err == nil && open {
		err = ErrWaitDelay
	}
	return err
}

// gate passes on what is written until it is shut, and throws away the rest: what a
// Scope holds may go on writing.
type gate struct {
	mu sync.Mutex
	to io.Writer // nil if shut
}

func (g *gate) Write(p []byte) (int, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.to == nil {
		return len(p), nil
	}
	return g.to.Write(p)
}

func (g *gate) shut() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.to = nil
}

// swallow reads to the end, for a process that has been kept and writes.
func swallow(pipe *os.File) {
	pipe.SetReadDeadline(time.Time{})
	io.Copy(io.Discard, pipe)
	pipe.Close()
}
