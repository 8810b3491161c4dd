package corral

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"slices"
	"time"

	"github.com/corral-run/corral/internal/files"
	"github.com/corral-run/corral/internal/holders"
	"github.com/corral-run/corral/internal/pty"
)

// stdio is the command's standard streams: the ends of the pipes that Corral made,
// and the goroutines that copy.
//
// Copying is not left to the inner exec.Cmd, because its Wait reaps the leader
// before it waits for the copying: a leftover that holds a pipe would have to be
// dealt with in between.
type stdio struct {
	child   []io.Closer // closed in the owner once the command has them
	parent  []io.Closer // closed when the copying is over
	inputs  []func() error
	outputs []*output
	handed  []*os.File // pipes that the caller reads
	pty     *terminal
	other   holders.End // the command's of pty

	lifeline *inputLine // the caller's Stdin, if that is one
	input    input      // what of standard input can be closed
	idle     *idle      // who is told of output, nil for nobody

	inDone  chan error // one value for each of inputs
	outDone chan error // one value for each of outputs

	timer   *time.Timer // to cut what the caller reads
	cutDone chan struct{}
	cut     bool      // it has been, because somebody holds it
	hold    bool      // copying may go on after Wait
	scoped  bool      // a Scope waits for the end of the copying
	holders []Process // who held what was not waited for any longer
}

// connect gives inner files for its standard streams.
func (s *stdio) connect(c *Cmd, inner *exec.Cmd) error {
	s.hold, s.scoped = c.Leftovers == HoldLeftovers, c.Scope != nil
	if c.PTY != nil {
		return s.connectPTY(c, inner)
	}
	err := s.connectInput(c, inner)
	if err != nil {
		return err
	}
	if inner.Stdout, err = s.writer(c.Stdout, c.OutputLimit); err != nil {
		return err
	}
	if c.Stderr != nil && same(c.Stderr, c.Stdout) {
		inner.Stderr = inner.Stdout
	} else if inner.Stderr, err = s.writer(c.Stderr, c.OutputLimit); err != nil {
		return err
	}
	return s.connectNull(inner)
}

// connectNull gives inner the null device for the streams that have nothing else.
// os/exec would open it for each of them and try to have it polled: two thirds of
// all its system calls.
func (s *stdio) connectNull(inner *exec.Cmd) error {
	open := func(flag int) (*os.File, error) {
		null, err := openNull(flag)
		if null != nil {
			s.child = append(s.child, null)
		}
		return null, err
	}
	if inner.Stdin == nil {
		null, err := open(os.O_RDONLY)
		if null == nil {
			return err
		}
		inner.Stdin = null
	}
	if inner.Stdout != nil && inner.Stderr != nil {
		return nil
	}
	null, err := open(os.O_WRONLY)
	if null == nil {
		return err
	}
	if inner.Stdout == nil {
		inner.Stdout = null
	}
	if inner.Stderr == nil {
		inner.Stderr = null
	}
	return nil
}

// connectPTY gives inner a terminal for all of its standard streams.
func (s *stdio) connectPTY(c *Cmd, inner *exec.Cmd) error {
	switch {
	case len(s.child) > 0:
		return errors.New("corral: StdinPipe, StdoutPipe and StderrPipe exclude a PTY: read and write the PTY")
	case c.Stderr != nil && !same(c.Stderr, c.Stdout):
		return errors.New("corral: Stderr and a PTY exclude each other, unless it is the same as Stdout: a terminal has one stream of output")
	}
	attr, err := pty.SessionAttr(inner.SysProcAttr)
	if err != nil {
		return err
	}
	t, tty, err := c.PTY.open(c.Stdout != nil)
	if err != nil {
		return err
	}
	s.pty, s.other = t, holders.EndOf(tty)
	s.add(tty, t.master)
	inner.SysProcAttr = attr
	inner.Stdin, inner.Stdout, inner.Stderr = tty, tty, tty
	switch {
	case s.lifeline != nil:
		s.inputs = append(s.inputs, func() error {
			s.lifeline.pass(writerFunc(t.typeInput), t.closeInput)
			return nil
		})
	case c.Stdin != nil:
		s.inputs = append(s.inputs, func() error { return t.feed(c.Stdin) })
	}
	if c.Stdout != nil {
		s.outputs = append(s.outputs, newOutput(t.master, t, c.Stdout, c.OutputLimit))
	}
	return nil
}

func (s *stdio) writer(to io.Writer, limit int64) (io.Writer, error) {
	if to == nil {
		return nil, nil
	}
	if f, ok := to.(*os.File); ok && (limit <= 0 || f == nil || slices.Contains(s.child, io.Closer(f))) { // of StdoutPipe
		return f, nil
	}
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	s.add(w, r)
	s.outputs = append(s.outputs, newOutput(r, r, to, limit))
	return w, nil
}

// same compares two writers, even of types on which == panics.
func same(a, b any) bool {
	defer func() { _ = recover() }()
	return a == b
}

func (s *stdio) add(child, parent io.Closer) {
	s.child = append(s.child, child)
	s.parent = append(s.parent, parent)
}

// hand is add for a pipe that the caller reads.
func (s *stdio) hand(w, r *os.File) {
	s.add(w, r)
	s.handed = append(s.handed, r)
}

// adopt finds the pipes that the caller writes and reads among those that os/exec has
// made. os/exec records both ends of a pipe together.
func (s *stdio) adopt(in io.Reader, outputs ...io.Writer) {
	for i, child := range s.child {
		if r, ok := in.(*os.File); ok && child == io.Closer(r) && i < len(s.parent) {
			s.input.pipe, _ = s.parent[i].(*os.File)
		}
		for _, out := range outputs {
			w, ok := out.(*os.File)
			if !ok || child != io.Closer(w) || i >= len(s.parent) {
				continue
			}
			if r, ok := s.parent[i].(*os.File); ok {
				s.handed = append(s.handed, r)
				break
			}
		}
	}
}

func (s *stdio) closeChild() { closeAll(&s.child) }

func (s *stdio) closeParent() { closeAll(&s.parent) }

func closeAll(list *[]io.Closer) {
	for _, c := range *list {
		c.Close()
	}
	*list = nil
}

// commandStoppedReading reports whether err only says that the command did not want
// all of its input. An error of the caller's own reader is not meant: "|1" is the
// name that os.Pipe gives the end for writing.
func commandStoppedReading(err error) bool {
	var pe *fs.PathError
	return errors.As(err, &pe) && pe.Op == "write" && pe.Path == "|1" && isBrokenPipe(pe.Err)
}

// copy starts the goroutines that copy.
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
		o.idle = s.idle
		if s.hold {
			o.flushes = new(flushes)
		}
		if s.scoped {
			o.over = make(chan struct{})
		}
		go func() {
			s.outDone <- o.copy()
			if o.over != nil {
				close(o.over)
			}
			if o.kept.Load() {
				swallow(o.pipe)
			}
		}()
	}
}

// flush delivers what has been written until now, and leaves the streams open. A Writer
// that is slow is not waited for any longer when late is closed. The caller's pipes are
// the caller's from then on.
func (s *stdio) flush(late <-chan struct{}) {
	var asked []<-chan struct{}
	for _, o := range s.outputs {
		asked = append(asked, o.flush())
	}
	for i, o := range s.outputs {
		if asked[i] == nil {
			continue
		}
		select {
		case <-asked[i]:
		case <-o.over:
		case <-late:
		}
	}
	for _, f := range s.handed {
		s.parent = slices.DeleteFunc(s.parent, func(c io.Closer) bool { return c == io.Closer(f) })
	}
}

// awaitCopied waits until all output of a Scope's command has been passed on, and reports
// whether that was so before late.
func (s *stdio) awaitCopied(late <-chan time.Time) bool {
	for _, o := range s.outputs {
		select {
		case <-o.over:
		case <-late:
			return false
		}
	}
	return true
}

// cutHeld is called when the run is over. Wait may not have been called, as the
// caller may want to read to the end first. After the delay, it ends the reading of
// what somebody still holds.
func (s *stdio) cutHeld(delay time.Duration) {
	if len(s.handed) == 0 && (s.pty == nil || s.pty.copied) {
		return
	}
	s.cutDone = make(chan struct{})
	s.timer = time.AfterFunc(delay, func() {
		defer close(s.cutDone)
		var held []holders.End
		for _, f := range s.handed {
			if files.HasOtherEnd(f) && f.SetReadDeadline(time.Unix(1, 0)) == nil {
				held = append(held, holders.EndOf(f))
			}
		}
		if s.pty != nil && files.HasOtherEnd(s.pty.master) {
			s.pty.master.SetReadDeadline(time.Unix(1, 0))
			held = append(held, s.other)
		}
		if s.cut = len(held) > 0; s.cut {
			s.holders = describe(holders.Of(held))
		}
	})
}

// finish waits for the copying to end, at most delay for somebody to let go of a
// pipe, and closes what is left. It waits for a writer that is slow to take what
// was read. It leaves behind a reader that comes up with no more input: that is an
// ErrWaitDelay, as in os/exec, unless the reader is a lifeline, there is a PTY,
// whose input may well outlast the command, or the stop plan has closed the input.
//
// With keep, processes that still write go on doing so: see outlive.
func (s *stdio) finish(delay time.Duration, keep bool) (err error) {
	defer func() {
		if keep {
			err = firstOf([]error{err, s.outlive()})
		}
		s.closeParent()
	}()
	if s.lifeline != nil {
		s.lifeline.from.stop()
	}
	s.input.stopReading()
	if s.timer != nil && !s.timer.Stop() {
		<-s.cutDone
		delay = 0
	}
	var errs []error
	if s.cut {
		errs = append(errs, ErrWaitDelay)
	}
	var expired <-chan time.Time
	if len(s.inputs)+len(s.outputs) > 0 {
		timer := time.NewTimer(delay)
		defer timer.Stop()
		expired = timer.C
	}
	if s.pty != nil && !s.pty.copied {
		if err := s.pty.finish(delay); err != nil && !s.cut {
			errs = append(errs, err)
			s.holders = describe(holders.Of([]holders.End{s.other}))
		}
	}
	for in, out := len(s.inputs), len(s.outputs); in+out > 0; {
		select {
		case err := <-s.inDone:
			in--
			errs = append(errs, err)
		case err := <-s.outDone:
			out--
			errs = append(errs, err)
		case <-expired:
			if in > 0 && s.lifeline == nil && s.pty == nil && !s.input.isClosed() {
				errs = append(errs, ErrWaitDelay)
			}
			expired, in = nil, 0
			if out > 0 {
				s.holders = append(s.holders, s.findHolders()...)
			}
			for _, o := range s.outputs {
				o.kept.Store(keep && o.from == io.Reader(o.pipe)) // a terminal has been hung up
				o.expired.Store(true)
				if err := o.pipe.SetReadDeadline(time.Unix(1, 0)); err != nil {
					o.pipe.Close() // pipes without deadlines: what is in them is lost
				}
			}
		}
	}
	return firstOf(errs)
}

// outlive sees to it that a process which has been kept does not break when it
// writes. For as long as somebody holds the other end, a goroutine reads what comes
// and throws it away: the one that copies, or a new one for a pipe that the caller
// has read.
func (s *stdio) outlive() error {
	for _, o := range s.outputs {
		if o.kept.Load() {
			s.parent = slices.DeleteFunc(s.parent, func(c io.Closer) bool { return c == io.Closer(o.pipe) })
		}
	}
	for _, f := range s.handed {
		if !files.HasOtherEnd(f) {
			continue
		}
		pipe, err := files.Duplicate(f) // what the caller has is closed
		if err != nil {
			return fmt.Errorf("corral: cannot keep the output pipe open for leftovers that are kept: %w", err)
		}
		go swallow(pipe)
	}
	return nil
}

// dropped is how many bytes OutputLimit has left out.
func (s *stdio) dropped() (n int64) {
	for _, o := range s.outputs {
		if o.limited != nil {
			n += o.limited.Dropped()
		}
	}
	return n
}

// findHolders returns who holds the other ends of what is being copied.
func (s *stdio) findHolders() []Process {
	var held []holders.End
	for _, o := range s.outputs {
		if o.from != io.Reader(o.pipe) {
			held = append(held, s.other)
		} else if files.HasOtherEnd(o.pipe) {
			held = append(held, holders.EndOf(o.pipe))
		}
	}
	return describe(holders.Of(held))
}

func firstOf(errs []error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
