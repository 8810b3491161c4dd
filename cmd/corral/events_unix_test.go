//go:build linux || darwin || freebsd

package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"github.com/corral-run/corral/internal/event"
	"github.com/corral-run/corral/internal/event/eventtest"
)

// TestEventsShared: the events of runs that share a file, or a FIFO on Linux, are
// whole lines, and all are there.
func TestEventsShared(t *testing.T) {
	schema, err := eventtest.Load("../../docs/events.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	for _, kind := range []string{"file", "fifo"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "events")
			text := make(chan []byte, 1)
			if kind == "fifo" {
				if err := unix.Mkfifo(path, 0o600); err != nil {
					t.Fatal(err)
				}
				// Open for writing as well, so that it has no end between two runs.
				held, err := os.OpenFile(path, os.O_RDWR|unix.O_NONBLOCK, 0)
				if err != nil {
					t.Fatal(err)
				}
				f, err := os.OpenFile(path, os.O_RDONLY, 0)
				if err != nil {
					t.Fatal(err)
				}
				holdAll(f)
				go func() {
					b, _ := io.ReadAll(f)
					text <- b
				}()
				defer held.Close()
				runCorrals(t, path)
				held.Close()
			} else {
				runCorrals(t, path)
				b, err := os.ReadFile(path)
				if err != nil {
					t.Fatal(err)
				}
				text <- b
			}
			told := make(map[string]string)
			for line := range bytes.Lines(<-text) {
				if err := schema.Check(line); err != nil {
					t.Error(err)
					continue
				}
				var e struct{ Event, Run string }
				if err := json.Unmarshal(line, &e); err != nil {
					t.Fatal(err)
				}
				told[e.Run] += e.Event + " "
			}
			if len(told) != sharing*apiece {
				t.Errorf("there are %d runs, not %d", len(told), sharing*apiece)
			}
			for run, events := range told {
				if events != "run-started leader-started leader-ended run-ended " {
					t.Errorf("%s: %s", run, events)
				}
			}
		})
	}
}

// holdAll gives a FIFO room for all that there is to tell, where that is possible: a
// reader that is slow for a second loses events.
func holdAll(fifo *os.File) {
	const setPipeSize, room = 1031, 1 << 20 // F_SETPIPE_SZ
	if runtime.GOOS == "linux" {
		unix.FcntlInt(fifo.Fd(), setPipeSize, room)
	}
}

const sharing, apiece = 4, 3

// runCorrals runs some at a time whose lines are as long as they get.
func runCorrals(t *testing.T, events string) {
	t.Helper()
	var all sync.WaitGroup
	for range sharing {
		all.Go(func() {
			for range apiece {
				cmd := exec.Command("corral", append([]string{"--containment", "group", "--events", events, "--"}, longCommand()...)...)
				if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
					t.Errorf("%v: %s", err, out)
				}
			}
		})
	}
	all.Wait()
}

// longCommand is a command with long arguments, some of which take more room in JSON.
func longCommand() []string {
	return []string{"true", strings.Repeat("long ", 500), strings.Repeat("\x01\"ü", 2000)}
}

// TestEventsUnread: whoever does not read holds up nothing, and gets whole lines. What
// is lost is counted.
func TestEventsUnread(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if err := fillPipe(w); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(r, make([]byte, event.MaxLine)); err != nil { // one line fits
		t.Fatal(err)
	}
	cmd := exec.Command("corral", append([]string{"--containment", "group", "--events", "fd:3", "--"}, longCommand()...)...)
	cmd.ExtraFiles = []*os.File{w}
	began := time.Now()
	out, err := cmd.CombinedOutput()
	w.Close()
	if took := time.Since(began); err != nil || took > 20*time.Second {
		t.Errorf("%v, after %v", err, took)
	}
	var lost int
	if n, err := fmt.Sscanf(string(out), "corral: %d events of the run could not be written: nobody reads fd:3, or not fast enough\n", &lost); n != 1 || err != nil {
		t.Errorf("it says %q", out)
	}
	text, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.TrimLeft(string(text), "x")
	if n := strings.Count(lines, "\n"); n+lost != 4 || lost == 0 || lines != "" && !strings.HasSuffix(lines, "}\n") {
		t.Errorf("%d are lost, and %d are there: %q", lost, n, lines)
	}
}

// TestEventsSlowDisk: no event is lost as a file takes some seconds to be written.
func TestEventsSlowDisk(t *testing.T) {
	path := filepath.Join(t.TempDir(), "events")
	synctest.Test(t, func(t *testing.T) {
		l, err := openEvents(fileName(path))
		if err != nil {
			t.Fatal(err)
		}
		l.queue.Deliver = func(e event.Event, lost int) int {
			time.Sleep(5 * time.Second)
			return l.deliver(e, lost)
		}
		e := new(event.RunEnded)
		event.Fill(e, "r", time.Now())
		l.queue.Put(e, true)
		l.finish(t.Errorf)
	})
	if b, err := os.ReadFile(path); bytes.Count(b, []byte("\n")) != 1 {
		t.Errorf("%q, %v", b, err)
	}
}

// fillPipe writes to a pipe until nothing more fits.
func fillPipe(w *os.File) error {
	fd := int(w.Fd())
	err := unix.SetNonblock(fd, true)
	for err == nil {
		_, err = unix.Write(fd, bytes.Repeat([]byte("x"), 1024))
	}
	if err != unix.EAGAIN {
		return err
	}
	return unix.SetNonblock(fd, false)
}
