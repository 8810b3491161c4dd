package corral

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/corral-run/corral/internal/proctree"
	"github.com/corral-run/corral/internal/stop"
)

// Lifeline names something outside the run whose loss ends the run: see
// Cmd.Lifelines. It is one of the constants, or has a number:
//
//   - "fd:N" is descriptor N of the owner: a pipe, a socket with a connection, or a
//     terminal. It is lost when the other end is closed. Nothing is read from it.
//     The command does not inherit it (it is set close-on-exec), unless it is one
//     of the standard streams. Windows does not support it.
//   - "pid:N" is process N, of any user and descent. It is lost when that process
//     has ended; a later process with the PID is another one. On Linux without
//     pidfds, Corral looks for it at intervals of up to 50 ms.
type Lifeline string

const (
	// LifelineStdin is Cmd.Stdin. It is lost at end-of-file; the command first gets
	// all input and half a second to end by itself. It is also lost if the other
	// end of a pipe or socket has been closed and the command has read nothing for
	// a second.
	//
	// The command reads a pipe, as from any Stdin that is not an *os.File. A file
	// whose end tells nothing is an error: a regular file, a device, a terminal
	// (see LifelineTTY). On Windows, an *os.File must be a pipe, and Corral looks at
	// it at intervals of up to 50 ms.
	LifelineStdin Lifeline = "stdin"

	// LifelineTTY is the controlling terminal of the owner. It is lost when the
	// terminal hangs up: its window was closed, or its connection cut. Windows and
	// macOS do not support it.
	LifelineTTY Lifeline = "tty"

	// LifelineParent is the process that started the owner. It is an error if that
	// is outside the owner's PID namespace, or is PID 1, which adopts a process
	// whose parent has ended.
	LifelineParent Lifeline = "parent"
)

// LifelineError is returned by Wait when the loss of a lifeline has ended the run,
// and by Start if the lifeline was already lost.
type LifelineError struct{ Lifeline Lifeline }

func (e *LifelineError) Error() string { return "corral: lifeline lost: " + string(e.Lifeline) }

// lifeline is one that is being watched.
type lifeline struct {
	name  Lifeline
	lost  func(context.Context) error // returns nil when it is, or the cause of ctx
	close func() error
}

// openLifelines opens all but LifelineStdin, whose reader sees its end.
func openLifelines(names []Lifeline) (lines []lifeline, err error) {
	defer func() {
		if err != nil {
			closeLifelines(lines)
			lines = nil
		}
	}()
	now, cancel := context.WithCancel(context.Background())
	cancel()
	for _, name := range names {
		if name == LifelineStdin {
			continue
		}
		l, err := openLifeline(name)
		if err != nil {
			return lines, fmt.Errorf("corral: lifeline %s: %w", name, err)
		}
		lines = append(lines, l)
		if l.lost(now) == nil {
			return lines, &LifelineError{name}
		}
	}
	return lines, nil
}

func closeLifelines(lines []lifeline) {
	for _, l := range lines {
		l.close()
	}
}

func openLifeline(name Lifeline) (lifeline, error) {
	kind, rest, _ := strings.Cut(string(name), ":")
	number, err := strconv.Atoi(rest)
	if err == nil && number < 0 {
		err = strconv.ErrRange
	}
	l := lifeline{name: name}
	switch {
	case name == LifelineTTY:
		l.lost, l.close, err = watchTTY()
	case name == LifelineParent:
		l.lost, l.close, err = watchParent()
	case kind == "fd" && err == nil:
		l.lost, l.close, err = watchDescriptor(number)
	case kind == "pid" && err == nil:
		l.lost, l.close, err = watchProcess(number)
	default:
		err = errors.New("want stdin, tty, parent, fd:N or pid:N")
	}
	return l, err
}

func watchProcess(pid int) (lost func(context.Context) error, close func() error, err error) {
	if pid == os.Getpid() {
		return nil, nil, errors.New("that is the owner itself, whose end ends the run anyway")
	}
	id, err := proctree.Identify(pid)
	var h *proctree.Handle
	if err == nil {
		h, err = proctree.Open(id)
	}
	switch {
	case errors.Is(err, proctree.ErrGone):
		return nil, nil, errors.New("there is no such process")
	case err != nil:
		return nil, nil, err
	}
	return h.Wait, h.Close, nil
}

func watchParent() (lost func(context.Context) error, close func() error, err error) {
	parent := os.Getppid()
	switch parent {
	case 0:
		return nil, nil, errors.New("the parent is outside this PID namespace")
	case 1:
		return nil, nil, errors.New("it has ended, or is PID 1, whose end would not be noticed here")
	}
	if lost, close, err = watchProcess(parent); err != nil {
		return nil, nil, err
	}
	// The PID may be another one's by now, which on Windows is not told otherwise.
	self, err1 := proctree.Identify(os.Getpid())
	id, err2 := proctree.Identify(parent)
	if os.Getppid() != parent || err1 == nil && err2 == nil && id.Start > self.Start {
		lost = func(context.Context) error { return nil }
	}
	return lost, close, nil
}

// watchLifelines begins to watch. Watching ends when nobody waits for the leader
// any more.
func (r *run) watchLifelines() {
	for _, l := range r.lines {
		r.watching.Go(func() {
			if l.lost(r.giveUpCtx) == nil {
				r.lifelineLost(l.name)
			}
		})
	}
	if input := r.cmd.stdio.lifeline; input != nil {
		r.watching.Go(func() {
			if input.lost(r.giveUpCtx) == nil {
				r.lifelineLost(LifelineStdin)
			}
		})
	}
}

func (r *run) lifelineLost(name Lifeline) {
	r.log.Debug("corral: lifeline lost", "lifeline", name)
	r.beginStop(LifelineLost, &LifelineError{name}, r.plan)
}

// inputLine is Cmd.Stdin as a lifeline.
type inputLine struct {
	from   inputReader
	ended  chan struct{} // closed when all of it has been passed on
	passed chan struct{} // gets a token when some has been
}

// inputReader is what input is read from.
type inputReader interface {
	io.Reader
	// hungUp returns nil when no more will come than there is, if that is known
	// before it has been read.
	hungUp(context.Context) error
	// stop makes Read return, if anything can.
	stop()
}

// pass gives all input to the command, or throws away what the command does not
// want, and calls end when there is no more.
func (l *inputLine) pass(to io.Writer, end func() error) {
	defer close(l.ended)
	wanted := true
	for b := make([]byte, 32<<10); ; {
		n, err := l.from.Read(b)
		if n > 0 && wanted {
			_, werr := to.Write(b[:n])
			wanted = werr == nil
		}
		select {
		case l.passed <- struct{}{}:
		default:
		}
		if err != nil { // whatever is wrong with it: it is lost
			end()
			return
		}
	}
}

// lost returns nil when the input has come to its end, or can never reach it.
func (l *inputLine) lost(ctx context.Context) error {
	const patience = time.Second
	hungUp := make(chan error, 1)
	sub, cancel := context.WithCancel(ctx)
	defer func() {
		cancel()
		<-hungUp
	}()
	go func() {
		defer close(hungUp)
		hungUp <- l.from.hungUp(sub)
	}()
	var stuck <-chan time.Time
	var passed <-chan struct{}
	closed, ended := hungUp, l.ended
	for {
		select {
		case <-ended:
			ended, stuck, passed = nil, time.After(stop.Farewell), nil
		case <-ctx.Done():
			return context.Cause(ctx)
		case err := <-closed:
			if closed = nil; err == nil && ended != nil {
				stuck, passed = time.After(patience), l.passed
			}
		case <-passed:
			stuck = time.After(patience)
		case <-stuck:
			return nil
		}
	}
}

// plainReader is input whose end is known only once it has been read.
type plainReader struct{ io.Reader }

func (p plainReader) stop() {}
func (p plainReader) hungUp(ctx context.Context) error {
	<-ctx.Done()
	return context.Cause(ctx)
}

// newInputLine returns Cmd.Stdin as a lifeline, nil if it is none.
func newInputLine(c *Cmd) (*inputLine, error) {
	if !slices.Contains(c.Lifelines, LifelineStdin) {
		return nil, nil
	}
	var from inputReader
	var err error
	switch in := c.Stdin.(type) {
	case nil:
		err = errors.New("there is no Stdin")
	case *os.File:
		from, err = watchInput(in)
	default:
		from = plainReader{in}
	}
	if err != nil {
		return nil, fmt.Errorf("corral: lifeline %s: %w", LifelineStdin, err)
	}
	return &inputLine{from: from, ended: make(chan struct{}), passed: make(chan struct{}, 1)}, nil
}
