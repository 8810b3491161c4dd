package corral

import (
	"errors"
	"io"
	"io/fs"
	"os"
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

// swallow reads to the end, for a process that has been kept and writes.
func swallow(pipe *os.File) {
	pipe.SetReadDeadline(time.Time{})
	io.Copy(io.Discard, pipe)
	pipe.Close()
}
