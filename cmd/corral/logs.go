//go:build linux || darwin || freebsd || windows

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/corral-run/corral/internal/registry"
)

func newLogs() *cobra.Command {
	follow, lines := false, -1
	c := &cobra.Command{
		Use:   "logs [flags] RUN",
		Short: "Write the output of a run in the background",
		Long: `Write the output of RUN, given by its ID or its name, that was started by --detach:
standard output and standard error of its command in one, and what corral itself had
to say. It is there until 'corral prune' removes it.

A log has the newest output, 8 to 16 MiB. What came before is not there any more.`,
		Example: `  corral logs web
  corral logs -f -n 20 web`,
		Annotations: map[string]string{exitStatuses: `0	it has been written
1	there is no such run, or it has no log
125	bad arguments, or it cannot be read or written
`},
		DisableFlagsInUseLine: true,
		Args:                  needRun,
		ValidArgsFunction:     completeRuns,
		RunE: func(c *cobra.Command, args []string) error {
			if c.Flags().Changed("tail") && lines < 0 {
				return errors.New("--tail takes a number of lines, which is not negative")
			}
			var s selection
			r, err := s.run(c, args[0], statusStuck)
			if err != nil {
				return err
			}
			if r.log == "" {
				return &exitError{statusStuck, fmt.Errorf("%s has no log: it was not started by --detach", r.title())}
			}
			err = writeLog(c.Context(), c.OutOrStdout(), r, lines, follow)
			switch {
			case errors.Is(err, errNoLog):
				return &exitError{statusStuck, fmt.Errorf("%s has no log: %w", r.title(), err)}
			case err != nil:
				return &exitError{statusOwn, err}
			}
			return nil
		},
	}
	flags := c.Flags()
	flags.SortFlags = false
	flags.BoolVarP(&follow, "follow", "f", false, "go on until the run is over")
	flags.IntVarP(&lines, "tail", "n", -1, "the last `LINES` only")
	flags.Lookup("tail").DefValue = "0" // or the help says that the default is -1
	return c
}

// logReader reads a log, over the points where a new one is begun.
type logReader struct {
	dir  *registry.Dir
	name string
	f    *os.File
}

// writeLog writes the log of a run, from its beginning or its last lines, and what is
// added if follow is true.
func writeLog(ctx context.Context, w io.Writer, r *knownRun, lines int, follow bool) error {
	dir, err := stateDir(false)
	if err != nil {
		return err
	}
	defer dir.Close()
	l := &logReader{dir: dir, name: r.ID + logSuffix}
	past, err := l.open()
	if err != nil {
		return err
	}
	defer func() { l.f.Close() }()
	if _, err := w.Write(lastLines(past, lines)); err != nil || !follow {
		return err
	}
	for over := r.Ended != nil; ; {
		if err := l.copy(w); err != nil || over {
			return err
		}
		// What is written before the end of the owner is there after it.
		tick, cancel := context.WithTimeout(ctx, logPause)
		err := r.awaitOwner(tick)
		cancel()
		switch {
		case err == nil:
			over = true
		case ctx.Err() != nil:
			return ctx.Err()
		case !errors.Is(err, context.DeadlineExceeded):
			return err
		}
		if f := fileOf(w); f != nil && readerGone(f) { // there may be nothing to write for long
			return endUnread(f)
		}
	}
}

// logPause is between two looks at a log that is followed.
const logPause = 100 * time.Millisecond

// errNoLog says that a log is not there any more.
var errNoLog = errors.New("its log has been removed")

// logPatience is how long a log may not be there, as a new one is being begun.
const logPatience = time.Second

// open opens the log, and returns what there is of it, and of the older one. The two
// are opened again if a new log was begun in between. If there is only the older one,
// who was to begin a new one has died over it.
func (l *logReader) open() (past []byte, err error) {
	for began := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		late := time.Since(began) > logPatience
		past, err = l.tryOpen(late)
		if err == nil || late || !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, errBegunAnew) {
			return past, err
		}
	}
}

var errBegunAnew = errors.New("the log is being begun anew all the time")

// tryOpen is open, once. late says that no new log is going to be begun.
func (l *logReader) tryOpen(late bool) (past []byte, err error) {
	older, err := l.dir.Open(l.name+".1", os.O_RDONLY)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	l.f, err = l.dir.Open(l.name, os.O_RDONLY)
	missing := errors.Is(err, fs.ErrNotExist)
	switch {
	case missing && late && older != nil:
		l.f = older
		return readAll(l.f)
	case missing && late:
		return nil, errNoLog
	}
	if older != nil {
		defer older.Close()
	}
	if err != nil {
		return nil, err
	}
	if !l.is(older, l.name+".1") {
		err = errBegunAnew
	} else if past, err = readAll(older, l.f); err == nil {
		return past, nil
	}
	l.f.Close()
	return nil, err
}

// is reports whether a file, or nil for none, is the one of that name.
func (l *logReader) is(f *os.File, name string) bool {
	now, err := l.dir.Open(name, os.O_RDONLY)
	if f == nil || err != nil {
		return f == nil && errors.Is(err, fs.ErrNotExist)
	}
	defer now.Close()
	a, aerr := f.Stat()
	b, berr := now.Stat()
	return aerr == nil && berr == nil && os.SameFile(a, b)
}

func readAll(files ...*os.File) ([]byte, error) {
	var b bytes.Buffer
	for _, f := range files {
		if f == nil {
			continue
		}
		if _, err := io.Copy(&b, f); err != nil {
			return nil, err
		}
	}
	return b.Bytes(), nil
}

// copy writes what has been added, also to logs that have been begun since: the newest
// one, and the one before. Any between were gone before they could be read.
func (l *logReader) copy(w io.Writer) error {
	for {
		if _, err := io.Copy(w, l.f); err != nil {
			return err
		}
		if l.is(l.f, l.name) {
			return nil
		}
		next, err := l.next()
		if errors.Is(err, fs.ErrNotExist) { // for a moment, or it has been removed
			return nil
		}
		if err != nil {
			return err
		}
		_, err = io.Copy(w, l.f) // what came before the new one
		l.f.Close()
		if l.f = next; err != nil {
			return err
		}
	}
}

// next opens what comes after the log that is open: the older one, if that is another,
// else the newest.
func (l *logReader) next() (*os.File, error) {
	older := l.name + ".1"
	if !l.is(l.f, older) {
		if f, err := l.dir.Open(older, os.O_RDONLY); !errors.Is(err, fs.ErrNotExist) {
			return f, err
		}
	}
	return l.dir.Open(l.name, os.O_RDONLY)
}

// lastLines returns the last n lines, or all if n is negative.
func lastLines(b []byte, n int) []byte {
	switch {
	case n < 0:
		return b
	case n == 0:
		return nil
	}
	at := len(bytes.TrimSuffix(b, []byte("\n")))
	for range n {
		if at = bytes.LastIndexByte(b[:at], '\n'); at < 0 {
			return b
		}
	}
	return b[at+1:]
}
