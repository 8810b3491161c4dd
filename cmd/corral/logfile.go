//go:build linux || darwin || freebsd || windows

package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sync"

	"github.com/corral-run/corral/internal/registry"
)

// logSize is how large a log may become. Then it is the older one, in place of the
// older one that there was.
const logSize = 8 << 20

// logFile is the log of a run. Writing to it never fails: what cannot be written, as
// the disk is full, is counted, and the count is in the log when there is room again.
type logFile struct {
	dir  *registry.Dir
	name string
	most int64

	mu   sync.Mutex
	f    *os.File
	size int64
	lost int64
	why  error
}

func openLog(dir *registry.Dir, name string) (*logFile, error) {
	l := &logFile{dir: dir, name: name, most: logSize}
	return l, l.open()
}

func (l *logFile) open() error {
	f, err := l.dir.Open(l.name, os.O_WRONLY|os.O_APPEND|os.O_CREATE)
	if err != nil {
		return err
	}
	registry.Hold(f) // from prune, also if there is no record of the run
	l.f = f
	l.size, err = f.Seek(0, io.SeekEnd)
	return err
}

func (l *logFile) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.f == nil {
		return len(b), nil
	}
	if l.size > 0 && l.size+int64(len(b)) > l.most {
		l.rotate()
	}
	if !l.tellLost() {
		l.lost += int64(len(b))
		return len(b), nil
	}
	n, err := l.f.Write(b)
	l.size += int64(n)
	if err != nil {
		l.lost, l.why = int64(len(b)-n), errors.Unwrap(err)
	}
	return len(b), nil
}

// tellLost writes how much is missing, and reports whether that could be written, or
// nothing is.
func (l *logFile) tellLost() bool {
	if l.lost == 0 {
		return true
	}
	n, err := fmt.Fprintf(l.f, "\ncorral: %d bytes of the output are missing here: %v\n", l.lost, l.why)
	l.size += int64(n)
	if err == nil {
		l.lost = 0
	}
	return err == nil
}

// rotate begins a new log. If it cannot, the old one goes on: output is worth more
// than the bound.
func (l *logFile) rotate() {
	if err := l.dir.Rename(l.name, l.name+".1"); err != nil && !errors.Is(err, fs.ErrNotExist) { // it may have been, before no new one could be made
		return
	}
	old := l.f
	if err := l.open(); err != nil {
		l.f = old
		l.size = 0
		return
	}
	old.Close()
}

func (l *logFile) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.f != nil {
		l.tellLost() // there may be room by now, and nothing else to write
		l.f.Close()
		l.f = nil
	}
}
