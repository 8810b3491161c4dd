package corral

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"sync/atomic"
	"time"
)

// stdio is the command's standard streams: the ends of the pipes that Corral
// made, and the goroutines that copy.
//
// Copying is not left to the inner exec.Cmd, because its Wait reaps the leader
// before it waits for the copying: a leftover that holds a pipe would have to
// be dealt with in between.
type stdio struct {
	child   []io.Closer // closed in the owner once the command has them
	parent  []io.Closer // closed when the copying is over
	inputs  []func() error
	outputs []*output

	inDone  chan error // one value for each of inputs
	outDone chan error // one value for each of outputs
}

// output is one pipe being copied to a writer.
type output struct {
	pipe    *os.File
	to      io.Writer
	expired atomic.Bool // finish has set a deadline: what the pipe holds now is all
}

// connect gives inner files for its standard streams.
func (s *stdio) connect(c *Cmd, inner *exec.Cmd) error {
	switch in := c.Stdin.(type) {
	case nil:
	case *os.File:
		inner.Stdin = in
	default:
		r, w, err := os.Pipe()
		if err != nil {
			return err
		}
		s.add(r, w)
		inner.Stdin = r
		s.inputs = append(s.inputs, func() error {
			_, err := io.Copy(w, in)
			if commandStoppedReading(err) {
				err = nil
			}
			return errors.Join(err, w.Close())
		})
	}
	var err error
	if inner.Stdout, err = s.writer(c.Stdout); err != nil {
		return err
	}
	if c.Stderr != nil && same(c.Stderr, c.Stdout) {
		inner.Stderr = inner.Stdout
		return nil
	}
	inner.Stderr, err = s.writer(c.Stderr)
	return err
}

func (s *stdio) writer(to io.Writer) (io.Writer, error) {
	if to == nil {
		return nil, nil
	}
	if f, ok := to.(*os.File); ok {
		return f, nil
	}
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	s.add(w, r)
	s.outputs = append(s.outputs, &output{pipe: r, to: to})
	return w, nil
}

// same compares two writers, also of types that == panics on.
func same(a, b any) bool {
	defer func() { _ = recover() }()
	return a == b
}

func (s *stdio) add(child, parent io.Closer) {
	s.child = append(s.child, child)
	s.parent = append(s.parent, parent)
}

func (s *stdio) closeChild() { closeAll(&s.child) }

func (s *stdio) closeParent() { closeAll(&s.parent) }

func closeAll(list *[]io.Closer) {
	for _, c := range *list {
		c.Close()
	}
	*list = nil
}

// commandStoppedReading reports whether err only says that the command did not
// want all of its input. The name is the one that os.Pipe gives the end for
// writing: an error of the caller's own reader is not meant.
func commandStoppedReading(err error) bool {
	var pe *fs.PathError
	return errors.As(err, &pe) && pe.Op == "write" && pe.Path == "|1" && isBrokenPipe(pe.Err)
}

// copy starts the goroutines.
func (s *stdio) copy() {
	if len(s.inputs) > 0 {
		s.inDone = make(chan error, len(s.inputs))
	}
	if len(s.outputs) > 0 {
		s.outDone = make(chan error, len(s.outputs))
	}
	for _, f := range s.inputs {
		go func() { s.inDone <- f() }()
	}
	for _, o := range s.outputs {
		go func() { s.outDone <- o.copy() }()
	}
}

func (o *output) copy() error {
	_, err := io.Copy(o.to, o.pipe)
	if o.expired.Load() && errors.Is(err, os.ErrDeadlineExceeded) {
		err = o.drain()
	}
	o.pipe.Close() // a writer's error must not leave the command blocked on a full pipe
	return err
}

// drain delivers what was written before finish gave up waiting for
// end-of-file: the deadline it set also cuts off what is in the pipe.
func (o *output) drain() error {
	data, open, err := readAvailable(o.pipe)
	if _, werr := o.to.Write(data); err == nil {
		err = werr
	}
	if err == nil && open {
		err = ErrWaitDelay
	}
	return err
}

// finish waits for the copying to end, at most delay for somebody to let go of
// a pipe, and closes what is left. A writer that is slow to take what was read
// is waited for; a reader that does not come up with more input is not, for
// nobody is left to whom it would matter.
func (s *stdio) finish(delay time.Duration) error {
	defer s.closeParent()
	if s.inDone == nil && s.outDone == nil {
		return nil
	}
	timer := time.NewTimer(delay)
	defer timer.Stop()
	var errs []error
	expired := timer.C
	for in, out := len(s.inputs), len(s.outputs); in+out > 0; {
		select {
		case err := <-s.inDone:
			in--
			errs = append(errs, err)
		case err := <-s.outDone:
			out--
			errs = append(errs, err)
		case <-expired:
			expired, in = nil, 0
			for _, o := range s.outputs {
				o.expired.Store(true)
				if err := o.pipe.SetReadDeadline(time.Unix(1, 0)); err != nil {
					o.pipe.Close() // pipes without deadlines: what is in them is lost
				}
			}
		}
	}
	return firstOf(errs)
}

func firstOf(errs []error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// headTail keeps the first and the last limit bytes of what is written to it.
type headTail struct {
	limit   int
	head    []byte
	tail    []byte // a ring once it is full
	at      int    // where the ring's oldest byte is
	dropped int64
}

func (h *headTail) Write(p []byte) (int, error) {
	n := len(p)
	take := min(h.limit-len(h.head), len(p))
	h.head = append(h.head, p[:take]...)
	p = p[take:]
	if over := len(p) - h.limit; over > 0 {
		h.dropped += int64(over)
		p = p[over:]
	}
	take = min(h.limit-len(h.tail), len(p))
	h.tail = append(h.tail, p[:take]...)
	p = p[take:]
	h.dropped += int64(len(p))
	for len(p) > 0 {
		k := copy(h.tail[h.at:], p)
		p = p[k:]
		h.at = (h.at + k) % h.limit
	}
	return n, nil
}

func (h *headTail) bytes() []byte {
	b := append([]byte(nil), h.head...)
	if h.dropped > 0 {
		b = fmt.Appendf(b, "\n... omitting %d bytes ...\n", h.dropped)
	}
	b = append(b, h.tail[h.at:]...)
	return append(b, h.tail[:h.at]...)
}
