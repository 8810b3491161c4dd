package proctree

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestBelowID: a PID's later holder has no descendants that count.
func TestBelowID(t *testing.T) {
	c := start(t, "idle")
	self, err := Identify(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	for name, below := range map[string]func(ID) ([]Process, error){"BelowID": BelowID, "BelowMainThreadID": BelowMainThreadID} {
		rows, err := below(ID{self.PID, self.Start - 1})
		if !errors.Is(err, ErrGone) || len(rows) > 0 {
			t.Errorf("%s of an earlier process: %v, error %v", name, rows, err)
		}
		if _, err := below(self); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	rows, err := BelowID(self)
	if err != nil || len(rows) != 1 || rows[0].ID != c.id {
		t.Errorf("%v, error %v, want %v", rows, err, c.id)
	}
}

// TestBelow: a tree in which a process has lost its parent, and one has threads.
func TestBelow(t *testing.T) {
	shell := startFamily(t)
	rows := familyBelow(t)
	pids, err := ChildPIDs(os.Getpid())
	if err != nil {
		t.Error(err)
	}
	orphans := 0
	for _, row := range rows {
		if row.PPID == os.Getpid() && !slices.Contains(pids, row.PID) {
			t.Errorf("%d is not among the children %v", row.PID, pids)
		}
		if row.PPID == os.Getpid() && row.Name == "sleep" {
			orphans++
		}
	}
	if orphans != 1 || !slices.Contains(pids, shell.Process.Pid) {
		t.Errorf("children %v, %d orphans; want the shell and one", pids, orphans)
	}
	if adopted, err := BelowMainThread(os.Getpid()); err != nil || len(adopted) != 1 || adopted[0].Name != "sleep" {
		t.Errorf("adopted: %+v, error %v", adopted, err)
	}
	if all, err := BelowMainThread(os.Getpid(), shell.Process.Pid); err != nil || count(all, "sh") != 2 || count(all, "sleep") != 2 {
		t.Errorf("below the shell as well: %+v, error %v", all, err)
	}
	var adopted MainThreadChildren
	defer adopted.Close()
	if now, err := adopted.List(); err != nil || len(now) != 1 || now[0] == shell.Process.Pid || !slices.Contains(pids, now[0]) {
		t.Errorf("adopted: %v, error %v", now, err)
	}
	killFamily(t, shell, rows)
	// The one that waited is adopted when the shell has ended.
	for pids, err = adopted.List(); len(pids) > 0 && err == nil; pids, err = adopted.List() {
		unix.Wait4(pids[0], nil, 0, nil)
	}
	if err != nil {
		t.Error(err)
	}
	before := len(descriptors(t))
	if err := adopted.Close(); err != nil || len(descriptors(t)) != before-1 {
		t.Errorf("%d descriptors before, %d after, error %v", before, len(descriptors(t)), err)
	}
}

// startFamily starts a shell, on another thread than the main one, that has a child
// that waits for a sleeper, and had one that has left a sleeper to this process:
// Go's test binary has threads, and is a subreaper for as long as the test runs.
func startFamily(t *testing.T) (shell *exec.Cmd) {
	t.Helper()
	shell = exec.Command("sh", "-c", "sh -c 'sleep 60 & echo; wait' & sh -c 'sleep 60 & echo; exit' & wait %2; wait")
	stdout, err := shell.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0) })
	if err := onOtherThread(shell.Start); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(stdout, make([]byte, 2)); err != nil {
		t.Fatal(err)
	}
	return shell
}

// familyBelow returns what Below says when it sees the whole family: the shell, the
// one that waits, and the two sleepers.
func familyBelow(t *testing.T) []Process {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; {
		rows, err := Below(os.Getpid())
		if err != nil {
			t.Fatal(err)
		}
		if count(rows, "sh") == 2 && count(rows, "sleep") == 2 {
			return rows
		}
		if time.Now().After(deadline) {
			t.Fatalf("%+v", rows)
		}
	}
}

// killFamily kills the processes of rows, and reaps the shell.
func killFamily(t *testing.T, shell *exec.Cmd, rows []Process) {
	t.Helper()
	for _, row := range rows {
		h, err := Open(row.ID)
		if err == nil {
			err = h.Signal(os.Kill)
			h.Close()
		}
		if err != nil && !errors.Is(err, ErrGone) {
			t.Error(err)
		}
	}
	shell.Wait()
}

func count(rows []Process, name string) (n int) {
	for _, row := range rows {
		if row.Name == name {
			n++
		}
	}
	return n
}

// onOtherThread calls f on a thread that is not the main one.
func onOtherThread(f func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // as long as this one has the thread, another one does not
		defer runtime.UnlockOSThread()
		if unix.Gettid() == os.Getpid() {
			done <- onOtherThread(f)
		} else {
			done <- f()
		}
	}()
	return <-done
}

// TestTasksGone: a process that ends while its threads are about to be listed is
// gone, which is not an error of whoever looks at its children.
func TestTasksGone(t *testing.T) {
	cmd := exec.Command("sleep", "60")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	fd, err := unix.Open(fmt.Sprintf("/proc/%d/task", cmd.Process.Pid), unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	cmd.Process.Kill()
	cmd.Wait()
	if err != nil {
		t.Fatal(err)
	}
	tasks := procfs{fd: fd}
	defer tasks.close()
	if tids, err := tasks.pids(); !errors.Is(err, ErrGone) || tids != nil {
		t.Errorf("%v, %v", tids, err)
	}
}

// TestKnownRows: a row that is known is taken over if it is that of the process,
// and read anew if not. Others are found beside it.
func TestKnownRows(t *testing.T) {
	cmd := exec.Command("sh", "-c", "sleep 60 & first=$!; echo; read x; sleep 60 & echo; read x; kill $first $!")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close()
		cmd.Wait()
	})
	said := func() {
		if _, err := out.Read(make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
	}
	said()
	known, err := BelowMainThread(cmd.Process.Pid)
	if err != nil || len(known) != 1 || !known[0].unchanged() {
		t.Fatalf("%+v, error %v", known, err)
	}
	known[0].Name = "known"
	fmt.Fprintln(in)
	said()
	other := known[0]
	other.dir++ // that of another process with the PID
	for _, tt := range []struct {
		known Process
		want  int
	}{{known[0], 1}, {other, 0}} {
		rows, err := MoreBelowMainThread(cmd.Process.Pid, []Process{tt.known})
		if err != nil || len(rows) != 2 || count(rows, "known") != tt.want {
			t.Errorf("below: %+v, error %v; want %d that are known", rows, err, tt.want)
		}
		rows, err = Select([]int{tt.known.PID}, tt.known)
		if err != nil || len(rows) != 1 || count(rows, "known") != tt.want {
			t.Errorf("selected: %+v, error %v; want %d that are known", rows, err, tt.want)
		}
	}
}

// TestThreads: a walk that knows a process by its row still sees that it has got
// threads, which may have children.
func TestThreads(t *testing.T) {
	cmd := exec.Command("cat")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close()
		cmd.Wait()
	})
	proc, err := openProc()
	if err != nil {
		t.Fatal(err)
	}
	defer proc.close()
	if got := proc.threads(cmd.Process.Pid); got != 1 {
		t.Errorf("%d threads, want 1", got)
	}
	row, err := proc.stat(start(t, "idle").Process.Pid) // a Go program, which may get more
	if err != nil {
		t.Fatal(err)
	}
	if got := proc.threads(row.PID); got < row.Threads || got < 2 {
		t.Errorf("%d threads, the table says %d", got, row.Threads)
	}
}
