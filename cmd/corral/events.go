//go:build linux || darwin || freebsd || windows

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/corral-run/corral"
	"github.com/corral-run/corral/internal/event"
)

// eventLog is where the events of a run go: --events. A nil one is nowhere.
type eventLog struct {
	name  string
	queue *event.Queue[event.Event]

	// await returns the file, once somebody reads it. The first event waits for that.
	await func() (*os.File, error)
	file  *os.File

	patience time.Duration // for what has not been written when all else is over

	mu  sync.Mutex
	err error // why nothing more is written
}

// readerPatience is how long corral waits for whoever reads the events when all else
// is over, and diskPatience for a file that nobody has to read: then the machine is slow.
const readerPatience, diskPatience = time.Second, 10 * time.Second

// openEvents opens what --events names: a file, to which lines are appended, or a
// descriptor.
func openEvents(name fileName) (*eventLog, error) {
	if name == "" {
		return nil, nil
	}
	l := &eventLog{name: string(name)}
	l.queue = &event.Queue[event.Event]{Deliver: l.deliver}
	var err error
	switch number, numbered := strings.CutPrefix(l.name, "fd:"); {
	case numbered:
		var fd int
		if fd, err = eventsNumber(number); err == nil {
			l.file, err = eventsDescriptor(fd)
		}
		if err != nil {
			err = fmt.Errorf("%s: %w", l.name, err)
		}
	case name == "-":
		err = errors.New("-: corral and the command write to standard error themselves; name a file, or a descriptor, such as fd:3 with 3>&2")
	default:
		l.file, l.await, err = openEventsFile(l.name)
	}
	if err != nil {
		return nil, &exitError{statusOwn, fmt.Errorf("cannot write the events: %w", err)}
	}
	l.patience = readerPatience
	if l.file != nil {
		if info, err := l.file.Stat(); err == nil && info.Mode().IsRegular() {
			l.patience = diskPatience
		}
	}
	return l, nil
}

// eventsNumber reads the number of a descriptor for events.
func eventsNumber(s string) (int, error) {
	n, err := strconv.ParseUint(s, 10, 31)
	switch {
	case err != nil:
		return 0, errors.New("want fd:N, with the number of a descriptor")
	case n <= 2:
		return 0, errors.New("that is a standard stream, which is the command's; use another one, such as fd:3 with 3>&" + s)
	}
	return int(n), nil
}

// writers is how many threads may write what is told of a run, all the while.
func writers(l *eventLog, verbose bool) int {
	n := 0
	if l != nil {
		n++
	}
	if verbose {
		n++
	}
	return n
}

// newCommand is corral.Command for a command whose events go to l, and which may be in
// the background.
func (l *eventLog) newCommand(back *background, args []string) *corral.Cmd {
	ctx := back.context()
	if l != nil {
		if ctx == nil {
			ctx = context.Background()
		}
		ctx = event.With(ctx, func(e event.Event) {
			_, last := e.(*event.RunEnded)
			l.queue.Put(e, last)
		})
	}
	if ctx == nil {
		return corral.Command(args[0], args[1:]...)
	}
	return corral.CommandContext(ctx, args[0], args[1:]...)
}

// deliver writes an event, and returns how many have been lost.
func (l *eventLog) deliver(e event.Event, lost int) int {
	if l.failed() != nil {
		return lost + 1
	}
	if l.file == nil {
		file, err := l.await()
		if err != nil {
			l.fail(err)
			return lost + 1
		}
		l.file = file
	}
	e.Common().Dropped = lost
	line, err := event.Line(e)
	if err == nil {
		err = writeEvent(l.file, line)
	}
	if err != nil {
		l.fail(err)
		return lost + 1
	}
	return 0
}

func (l *eventLog) fail(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.err = err
}

func (l *eventLog) failed() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.err
}

// finish waits until all events have been written, but not for long, and says in one
// line what is missing. To whoever asks how the run has ended, that is no failure.
func (l *eventLog) finish(say func(format string, args ...any)) {
	if l == nil {
		return
	}
	lost := l.queue.Flush(l.patience)
	switch err := l.failed(); {
	case err != nil:
		say("cannot write the events: %v", err)
	case lost > 0:
		say("%s of the run could not be written: nobody reads %s, or not fast enough", countEvents(lost), l.name)
	case l.file != nil:
		if err := l.file.Close(); err != nil {
			say("cannot write the events: %v", err)
		}
	}
}

func countEvents(n int) string {
	if n == 1 {
		return "1 event"
	}
	return fmt.Sprintf("%d events", n)
}

// writeEvent writes a line at once: others may append to the file as well.
func writeEvent(f *os.File, line []byte) error {
	n, err := f.Write(line)
	if err == nil && n < len(line) {
		err = io.ErrShortWrite
	}
	return err
}
