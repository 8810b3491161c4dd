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
	over    chan struct{}    // closed when the copying is; nil without a Scope
}

// flushes are requests to have delivered what the pipe holds.
type flushes struct {
	mu    sync.Mutex
	asked chan struct{} // closed when it has been; not nil just as long as the pipe has a flush's deadline
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

// flush has what the pipe holds now delivered, and returns what is closed then.
// Copying goes on after that. Where pipes have no deadlines, and where the copying is
// over, it does nothing and returns nil. Who has asked need not wait.
func (o *output) flush() <-chan struct{} {
	f := o.flushes
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.asked == nil {
		f.asked = make(chan struct{})
	}
	if o.pipe.SetReadDeadline(time.Unix(1, 0)) != nil {
		f.asked = nil
	}
	return f.asked
}

// answer takes a flush's deadline back, and returns what is to be closed when the flush
// is done, or nil if there is none.
func (f *flushes) answer(pipe *os.File) chan struct{} {
	f.mu.Lock()
	defer f.mu.Unlock()
	done := f.asked
	if f.asked = nil; done != nil {
		pipe.SetReadDeadline(time.Time{})
	}
	return done
}

// flushed answers a flush, which has ended the copying with err, and reports whether
// to go on.
func (o *output) flushed(err *error) bool {
	if o.flushes == nil || o.expired.Load() || !errors.Is(*err, os.ErrDeadlineExceeded) {
		return false
	}
	done := o.flushes.answer(o.pipe)
	if done == nil { // it is the Writer's error
		return false
	}
	defer close(done)
	if o.expired.Load() { // finish may have set its own deadline just before
		return false
	}
	*err = o.drain()
	return *err == ErrWaitDelay
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
