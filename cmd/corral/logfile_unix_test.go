//go:build linux || darwin || freebsd

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"github.com/corral-run/corral/internal/registry"
)

func newLog(t *testing.T, most int64) (*logFile, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "corral")
	dir, err := registry.OpenDir(path, os.Geteuid(), true)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dir.Close() })
	l, err := openLog(dir, "x.log")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.close)
	l.most = most
	return l, filepath.Join(path, "x.log")
}

// TestLogRotates: a log has the newest output, in two files that are bounded.
func TestLogRotates(t *testing.T) {
	l, path := newLog(t, 1000)
	var all strings.Builder
	for i := range 1000 {
		line := fmt.Sprintln("line", i)
		all.WriteString(line)
		if n, err := l.Write([]byte(line)); n != len(line) || err != nil {
			t.Fatalf("%d, %v", n, err)
		}
	}
	older, newer := read(t, path+".1"), read(t, path)
	if len(older) > 1000 || len(newer) > 1000 || len(older) < 900 || !strings.HasSuffix(all.String(), older+newer) {
		t.Errorf("%d and %d bytes\n%s%s", len(older), len(newer), older, newer)
	}
	if left, err := os.ReadDir(filepath.Dir(path)); err != nil || len(left) != 2 {
		t.Errorf("%v, %v", left, err)
	}
	l.Write(bytes.Repeat([]byte("x"), 5000)) // larger than a log: it is one
	l.Write([]byte("y"))
	if older, newer := read(t, path+".1"), read(t, path); len(older) != 5000 || newer != "y" {
		t.Errorf("%d and %d bytes", len(older), len(newer))
	}
	if err := os.Remove(path); err != nil { // somebody has
		t.Fatal(err)
	}
	l.Write(bytes.Repeat([]byte("x"), 1000))
	l.Write([]byte("z"))
	if newer := read(t, path); newer != "z" {
		t.Errorf("after the log was removed: %d bytes", len(newer))
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestLogFull: what cannot be written fails nobody, and is counted.
func TestLogFull(t *testing.T) {
	l, path := newLog(t, 1<<20)
	var was unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_FSIZE, &was); err != nil {
		t.Fatal(err)
	}
	limit := func(r unix.Rlimit) {
		t.Helper()
		if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &r); err != nil {
			t.Fatal(err)
		}
	}
	defer unix.Setrlimit(unix.RLIMIT_FSIZE, &was)
	small := was
	small.Cur = 10
	limit(small)
	for _, s := range []string{"12345678", "abcdef", "more"} {
		if n, err := l.Write([]byte(s)); n != len(s) || err != nil {
			t.Errorf("%d, %v", n, err)
		}
	}
	limit(was)
	l.Write([]byte("again\n"))
	const want = "12345678ab\ncorral: 8 bytes of the output are missing here: file too large\nagain\n"
	if got := read(t, path); got != want {
		t.Errorf("%q; want %q", got, want)
	}
	l.close()
	if n, err := l.Write([]byte("late")); n != 4 || err != nil {
		t.Errorf("after the end: %d, %v", n, err)
	}
}

// TestLogFullAtTheEnd: what is missing at the end is counted, too, if there is room by
// then.
func TestLogFullAtTheEnd(t *testing.T) {
	l, path := newLog(t, 1<<20)
	l.Write([]byte("all\n"))
	l.lost, l.why = 8, unix.ENOSPC
	l.close()
	const want = "all\n\ncorral: 8 bytes of the output are missing here: no space left on device\n"
	if got := read(t, path); got != want {
		t.Errorf("%q; want %q", got, want)
	}
}

// TestLogMoved: a log is bounded also if its directory is renamed meanwhile.
func TestLogMoved(t *testing.T) {
	l, path := newLog(t, 10)
	moved := filepath.Dir(path) + ".moved"
	if err := os.Rename(filepath.Dir(path), moved); err != nil {
		t.Fatal(err)
	}
	for _, s := range []string{"the first\n", "the other\n", "the third\n"} {
		l.Write([]byte(s))
	}
	if older, newer := read(t, moved+"/x.log.1"), read(t, moved+"/x.log"); older != "the other\n" || newer != "the third\n" {
		t.Errorf("%q, %q", older, newer)
	}
}

// TestLogFollowed: who follows a log gets all that is written, over the points where a
// new one is begun, each byte once.
func TestLogFollowed(t *testing.T) {
	l, path := newLog(t, 1000)
	l.Write([]byte("before\n"))
	r := &logReader{dir: l.dir, name: "x.log"}
	past, err := r.open()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { r.f.Close() }()
	got := bytes.NewBuffer(past)
	want := "before\n"
	for i := range 300 {
		line := fmt.Sprintln("line", i)
		want += line
		l.Write([]byte(line))
		if i%50 == 49 {
			if err := r.copy(got); err != nil {
				t.Fatal(err)
			}
		}
	}
	if got.String() != want {
		t.Errorf("%q", got)
	}
	if _, err := os.Stat(path + ".1"); err != nil {
		t.Errorf("no new log was begun: %v", err)
	}
	// It was there from the beginning, in both files.
	all := &logReader{dir: l.dir, name: "x.log"}
	past, err = all.open()
	if err != nil {
		t.Fatal(err)
	}
	all.f.Close()
	if !strings.HasSuffix(want, string(past)) || len(past) < 1000 {
		t.Errorf("%d bytes: %q", len(past), past)
	}
}

// TestLogFollowedLate: who follows a log that has been begun anew twice meanwhile gets
// all that is still there.
func TestLogFollowedLate(t *testing.T) {
	l, _ := newLog(t, 10)
	l.Write([]byte("the first\n"))
	r := &logReader{dir: l.dir, name: "x.log"}
	past, err := r.open()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { r.f.Close() }()
	got := bytes.NewBuffer(past)
	l.Write([]byte("the other\n"))
	l.Write([]byte("the third\n"))
	if err := r.copy(got); err != nil {
		t.Fatal(err)
	}
	if want := "the first\nthe other\nthe third\n"; got.String() != want {
		t.Errorf("%q; want %q", got, want)
	}
}

// TestLogGone: of a log whose owner has died while it began a new one, the older part
// is there. One that has been removed is told from that.
func TestLogGone(t *testing.T) {
	t.Parallel()
	l, path := newLog(t, 1000)
	l.Write([]byte("all\n"))
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	r := &logReader{dir: l.dir, name: "x.log"}
	past, err := r.open()
	if string(past) != "all\n" || err != nil {
		t.Fatalf("%q, %v", past, err)
	}
	var more bytes.Buffer
	if err := r.copy(&more); more.Len() > 0 || err != nil {
		t.Errorf("%q, %v", &more, err)
	}
	r.f.Close()
	if err := os.Remove(path + ".1"); err != nil {
		t.Fatal(err)
	}
	if _, err := r.open(); !errors.Is(err, errNoLog) {
		t.Errorf("%v", err)
	}
}

// TestLogInUse: prune leaves the log of a run that goes on, if there is no record of it,
// and takes it when the run is over.
func TestLogInUse(t *testing.T) {
	t.Setenv("XDG_STATE_HOME", t.TempDir())
	dir, err := stateDir(true)
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	l, err := openLog(dir, registry.NewID()+logSuffix)
	if err != nil {
		t.Fatal(err)
	}
	defer l.close()
	l.most = 10
	pruned := func() []os.DirEntry {
		t.Helper()
		var o pruneFlags
		o.pruneRecords()
		left, err := os.ReadDir(dir.Path())
		if err != nil || len(o.errs) > 0 {
			t.Error(err, o.errs)
		}
		return left
	}
	long := time.Now().Add(-2 * registry.LeftAge)
	for _, s := range []string{"the first\n", "the other\n"} { // two files
		l.Write([]byte(s))
		if err := os.Chtimes(l.f.Name(), long, long); err != nil {
			t.Fatal(err)
		}
	}
	if left := pruned(); len(left) != 2 {
		t.Errorf("left of a run that goes on: %v", left)
	}
	l.close()
	if left := pruned(); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

// loggedRun is a run of this process's, with a log.
func loggedRun(t *testing.T) (id string, owner registry.Owner) {
	t.Helper()
	t.Setenv("XDG_STATE_HOME", t.TempDir())
	dir, err := stateDir(true)
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	id = registry.NewID()
	log, err := openLog(dir, id+logSuffix)
	if err != nil {
		t.Fatal(err)
	}
	log.Write([]byte("all\n"))
	log.close()
	owner, err = registry.Self()
	if err != nil {
		t.Fatal(err)
	}
	return id, owner
}

// TestLogWithoutOwner: who follows the log of a run whose owner is dead does not wait.
func TestLogWithoutOwner(t *testing.T) {
	id, owner := loggedRun(t)
	owner.Start++
	var out bytes.Buffer
	err := writeLog(context.Background(), &out, &knownRun{Entry: registry.Entry{ID: id, Owner: owner}, log: "x"}, -1, true)
	if out.String() != "all\n" || err != nil {
		t.Errorf("%q, %v", &out, err)
	}
}

// TestLogUnseen: it cannot be told when a run that cannot be seen has ended, so nobody
// follows its log.
func TestLogUnseen(t *testing.T) {
	id, owner := loggedRun(t)
	owner.Space = "another"
	var out bytes.Buffer
	r := &knownRun{Entry: registry.Entry{ID: id, Owner: owner}, log: "x", state: stateUnseen}
	if err := writeLog(t.Context(), &out, r, -1, true); out.String() != "all\n" || err == nil || !strings.Contains(err.Error(), "cannot be seen from here") {
		t.Errorf("%q, %v", &out, err)
	}
}

// TestAskAtTheEnd: a run in the background that is off the registry already, and whose
// end is yet to be recorded, is over, also if that takes its owner some seconds.
func TestAskAtTheEnd(t *testing.T) {
	id, owner := loggedRun(t)
	dir, err := stateDir(false)
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	e := registry.Entry{Version: registry.Version, ID: id, Owner: owner}
	write := func() {
		if err := dir.Write(id+recordSuffix, &e); err != nil {
			t.Error(err)
		}
	}
	write()
	synctest.Test(t, func(t *testing.T) {
		r := &knownRun{Entry: e, log: "x", state: stateRunning}
		time.AfterFunc(5*time.Second, func() {
			e.Ended = new(registry.Ended)
			write()
		})
		if _, err := r.ask(t.Context(), registry.Request{Do: "stop"}); !errors.Is(err, os.ErrProcessDone) {
			t.Error(err)
		}
	})
}
