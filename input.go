package corral

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"sync/atomic"
)

// input is as much of the command's standard input as Corral holds, and so can
// close: see StopStep.CloseStdin.
type input struct {
	pipe    *os.File    // the command reads the other end
	nothing error       // why there is no pipe
	from    inputReader // what is copied, if reading it can be stopped and nothing else does
	closed  uint32      // 1 if the stop plan has closed it; by sync/atomic, as Cmd.startCalled
}

var (
	errNoInput  = errors.New("standard input is the null device, which is at its end from the start")
	errOwnInput = errors.New("standard input is a file that the command has itself: only a CloseStdin in StopPlan lets Corral copy it")
)

// connectInput gives inner a file for its standard input, unless that is the null
// device.
func (s *stdio) connectInput(c *Cmd, inner *exec.Cmd) error {
	file, isFile := c.Stdin.(*os.File)
	from := c.Stdin
	switch {
	case c.Stdin == nil:
		s.input = input{nothing: errNoInput}
		return nil
	case isFile && s.lifeline == nil && s.input.pipe != nil && slices.Contains(s.child, io.Closer(file)): // of StdinPipe
		inner.Stdin = file
		return nil
	case isFile && s.lifeline == nil && !c.StopPlan.closesStdin():
		s.input, inner.Stdin = input{nothing: errOwnInput}, file
		return nil
	case isFile && s.lifeline == nil:
		reader, err := readInput(file)
		if err != nil {
			return fmt.Errorf("corral: the stop plan closes standard input: %w", err)
		}
		from, s.input.from = reader, reader
	}
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	s.add(r, w)
	s.input.pipe, inner.Stdin = w, r
	s.inputs = append(s.inputs, func() error {
		if s.lifeline != nil {
			s.lifeline.pass(w, w.Close)
			return nil
		}
		return s.input.copy(from)
	})
	return nil
}

// copy copies all of the input and closes the pipe.
func (in *input) copy(from io.Reader) error {
	_, err := io.Copy(in.pipe, from)
	stopped := in.from != nil && errors.Is(err, context.Canceled)
	if stopped || commandStoppedReading(err) || in.isClosed() && errors.Is(err, os.ErrClosed) {
		err = nil
	}
	if cerr := in.pipe.Close(); err == nil && !in.isClosed() {
		err = cerr
	}
	return err
}

func (in *input) isClosed() bool { return atomic.LoadUint32(&in.closed) != 0 }

// stopReading is called when nobody is left who could want more input.
func (in *input) stopReading() {
	if in.from != nil {
		in.from.stop()
	}
}

// closeInput closes the command's standard input. What has been copied before that,
// the command can still read.
func (s *stdio) closeInput() error {
	switch {
	case s.pty != nil:
		return s.pty.endInput()
	case s.input.pipe == nil:
		return s.input.nothing
	}
	atomic.StoreUint32(&s.input.closed, 1)
	if err := s.input.pipe.Close(); !errors.Is(err, os.ErrClosed) {
		return err
	}
	return nil // it was at its end before
}
