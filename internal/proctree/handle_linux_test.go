package proctree

import (
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestZombie(t *testing.T) {
	c := start(t, "idle")
	c.input.Close()
	waitExit(t, c)
	for name, newWatch := range watches {
		sys, err := newWatch()
		if err != nil {
			t.Fatal(err)
		}
		w := Watch{sys}
		if ok, err := w.Add(c.id); ok || !errors.Is(err, ErrGone) {
			t.Errorf("%s: %v, error %v", name, ok, err)
		}
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	}
	for name, open := range handles {
		sys, err := open(Process{ID: c.id})
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		h := Handle{c.id, sys}
		if err := h.Wait(t.Context()); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if err := h.Signal(syscall.SIGTERM); err != nil {
			t.Errorf("%s: signal to a zombie: %v", name, err)
		}
		defer h.Close()
		defer func() {
			if err := h.Signal(syscall.Signal(0)); !errors.Is(err, ErrGone) {
				t.Errorf("%s: signal to a reaped process: error %v", name, err)
			}
		}()
	}
	if p, err := Lookup(c.Process.Pid); err != nil || p.State != Zombie || p.Alive() {
		t.Errorf("got %+v, error %v: somebody has reaped it", p, err)
	}
	if p, ok := Live(c.id); ok {
		t.Errorf("Live: %+v", p)
	}
	if !Same(c.id) {
		t.Error("not the Same, though it has not been reaped")
	}
	if err := c.Cmd.Wait(); err != nil {
		t.Error(err)
	}
}

func TestDeadLeader(t *testing.T) {
	for name, open := range handles {
		t.Run(name, func(t *testing.T) {
			c := start(t, "dead leader", setpgid)
			p := find(t, c.Process.Pid)
			if p.State != Zombie || p.Threads < 2 || !p.Alive() {
				t.Errorf("got %+v", p)
			}
			if members := membersOf(t, p.PID); len(members) != 1 || members[0].ID != c.id {
				t.Errorf("members %+v", members)
			}
			sys, err := open(Process{ID: c.id})
			if err != nil {
				t.Fatal(err)
			}
			h := Handle{c.id, sys}
			defer h.Close()
			sysWatch, err := watches[name]()
			if err != nil {
				t.Fatal(err)
			}
			w := Watch{sysWatch}
			defer w.Close()
			if ok, err := w.Add(c.id); !ok || err != nil {
				t.Fatalf("%v, error %v", ok, err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
			defer cancel()
			if err := h.Wait(ctx); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("threads live, but error %v", err)
			}
			if err := w.Wait(ctx); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("threads live, but error %v", err)
			}
			c.input.Close()
			if err := h.Wait(t.Context()); err != nil {
				t.Error(err)
			}
			if err := w.Wait(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestSignal(t *testing.T) {
	for name, open := range handles {
		c := start(t, "idle")
		sys, err := open(Process{ID: c.id})
		if err != nil {
			t.Fatal(err)
		}
		h := Handle{c.id, sys}
		if err := h.Signal(syscall.Signal(0)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if err := h.Signal(notSyscall{}); !errors.Is(err, errors.ErrUnsupported) {
			t.Errorf("%s: error %v", name, err)
		}
		if err := h.Signal(syscall.SIGTERM); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if err := h.Wait(t.Context()); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		c.Cmd.Wait()
		if status := c.ProcessState.Sys().(syscall.WaitStatus); !status.Signaled() || status.Signal() != syscall.SIGTERM {
			t.Errorf("%s: %v", name, c.ProcessState)
		}
		if _, err := open(Process{ID: c.id}); !errors.Is(err, ErrGone) {
			t.Errorf("%s: open: error %v", name, err)
		}
		if err := h.Close(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

type notSyscall struct{}

func (notSyscall) String() string { return "no signal" }

func (notSyscall) Signal() {}

func TestRecycledPID(t *testing.T) {
	for name, open := range handles {
		t.Run(name, func(t *testing.T) {
			before := start(t, "idle")
			row, err := Brief(before.Process.Pid)
			if err != nil || row.ID != before.id || !row.unchanged() {
				t.Fatalf("%+v, error %v", row, err)
			}
			sys, err := open(row)
			if err != nil {
				t.Fatal(err)
			}
			h := Handle{before.id, sys}
			defer h.Close()
			before.end()
			for started := before.id.Start; started == before.id.Start; { // a clock tick is 10 ms
				c := start(t, "idle")
				started = c.id.Start
				c.end()
			}
			after := startAs(t, before.Process.Pid)
			if after.id == before.id {
				t.Fatalf("two processes, one identity: %v", after.id)
			}
			if err := h.Signal(os.Kill); !errors.Is(err, ErrGone) {
				t.Errorf("signal: error %v", err)
			}
			if err := h.Wait(t.Context()); err != nil {
				t.Errorf("wait: %v", err)
			}
			for _, p := range []Process{row, {ID: before.id}} {
				if _, err := open(p); !errors.Is(err, ErrGone) {
					t.Errorf("open: error %v", err)
				}
			}
			if row.unchanged() {
				t.Error("the directory of the later process is taken for that of the one before")
			}
			if rows := Details([]Process{row}); rows[0].Args != nil {
				t.Errorf("the arguments of the later process are taken for those of the one before: %q", rows[0].Args)
			}
			sysWatch, err := watches[name]()
			if err != nil {
				t.Fatal(err)
			}
			w := Watch{sysWatch}
			defer w.Close()
			if ok, err := w.Add(before.id); ok || !errors.Is(err, ErrGone) {
				t.Errorf("watch: %v, error %v", ok, err)
			}
			// Had it been hit, it would not end by itself.
			after.input.Close()
			if err := after.Cmd.Wait(); err != nil {
				t.Errorf("the later process was hit: %v", err)
			}
		})
	}
}

// startAs starts a child with the given PID, which is free.
func startAs(t *testing.T, pid int) *child {
	t.Helper()
	const last = "/proc/sys/kernel/ns_last_pid"
	for range 100 {
		if err := os.WriteFile(last, []byte(strconv.Itoa(pid-1)), 0); err != nil {
			t.Skipf("SKIPPED: cannot choose a PID: %v", err)
		}
		// A thread of this process, or another process, may be first to take it.
		if c := start(t, "idle"); c.Process.Pid == pid {
			return c
		} else {
			c.end()
		}
	}
	t.Skipf("SKIPPED: PID %d was always taken by another", pid)
	return nil
}

// startCats starts n cheap processes, which end when the input is closed.
func startCats(t *testing.T, n int) (cats []*exec.Cmd, ids []ID, input io.Closer) {
	t.Helper()
	stay, hold, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer stay.Close()
	t.Cleanup(func() {
		hold.Close()
		for _, cat := range cats {
			cat.Wait()
		}
	})
	for range n {
		cat := exec.Command("cat")
		cat.Stdin = stay
		if err := cat.Start(); err != nil {
			t.Fatal(err)
		}
		cats = append(cats, cat)
		id, err := Identify(cat.Process.Pid)
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, id)
	}
	return cats, ids, hold
}

func TestWatchMany(t *testing.T) {
	for name, newWatch := range watches {
		t.Run(name, func(t *testing.T) {
			const n = 300
			cats, ids, input := startCats(t, n)
			sys, err := newWatch()
			if err != nil {
				t.Fatal(err)
			}
			w := Watch{sys}
			defer w.Close()
			for _, id := range ids {
				if ok, err := w.Add(id); !ok || err != nil {
					t.Fatalf("%v, error %v", ok, err)
				}
			}
			if w.Len() != n {
				t.Errorf("%d watched", w.Len())
			}
			input.Close()
			if err := w.Wait(t.Context()); err != nil || w.Len() != 0 {
				t.Fatalf("%d left, error %v", w.Len(), err)
			}
			for _, cat := range cats {
				if p, err := Lookup(cat.Process.Pid); err != nil || p.Alive() {
					t.Errorf("got %+v, error %v", p, err)
				}
			}
		})
	}
}

func TestOutOfDescriptors(t *testing.T) {
	_, ids, input := startCats(t, 10)
	w, err := NewWatch()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()

	free := useUpDescriptors(t)
	if ok, err := w.Add(ids[0]); ok || !errors.Is(err, syscall.EMFILE) {
		t.Errorf("nothing watched: %v, error %v", ok, err)
	}
	free(6) // not all of them for pidfds: a look at /proc takes two for a moment
	var added int
	for _, id := range ids {
		ok, err := w.Add(id)
		if err != nil {
			t.Fatal(err)
		}
		if !ok {
			break
		}
		added++
	}
	if added == 0 || added == len(ids) || w.Len() != added {
		t.Errorf("%d added, %d watched", added, w.Len())
	}
	// Those that are watched make room for the others when they have ended.
	input.Close()
	if err := w.Wait(t.Context()); err != nil || w.Len() != 0 {
		t.Errorf("%d left, error %v", w.Len(), err)
	}
}

// useUpDescriptors leaves the test none, and returns a function that makes n
// free again.
func useUpDescriptors(t *testing.T) (free func(n int)) {
	t.Helper()
	var old unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &old); err != nil {
		t.Fatal(err)
	}
	few := unix.Rlimit{Cur: uint64(len(descriptors(t)) + 20), Max: old.Max}
	if err := unix.Prlimit(0, unix.RLIMIT_NOFILE, &few, nil); err != nil {
		t.Fatal(err)
	}
	var fds []int
	free = func(n int) {
		for _, fd := range fds[:n] {
			unix.Close(fd)
		}
		fds = fds[n:]
	}
	t.Cleanup(func() {
		free(len(fds))
		if err := unix.Prlimit(0, unix.RLIMIT_NOFILE, &old, nil); err != nil {
			t.Fatal(err)
		}
	})
	for {
		fd, err := unix.Open("/dev/null", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err == unix.EMFILE {
			return free
		}
		if err != nil {
			t.Fatal(err)
		}
		fds = append(fds, fd)
	}
}

func TestNoDescriptorLeft(t *testing.T) {
	before := len(descriptors(t))
	for range 3 {
		c := start(t, "idle")
		cancelled, cancel := context.WithCancel(t.Context())
		cancel()
		h, err := Open(c.id)
		if err != nil {
			t.Fatal(err)
		}
		h.Wait(cancelled)
		w, err := NewWatch()
		if err != nil {
			t.Fatal(err)
		}
		if ok, err := w.Add(c.id); !ok || err != nil {
			t.Fatalf("%v, error %v", ok, err)
		}
		w.Wait(cancelled)
		if _, err := Open(ID{c.id.PID, c.id.Start + 1}); !errors.Is(err, ErrGone) {
			t.Errorf("error %v", err)
		}
		if _, err := w.Add(ID{c.id.PID, c.id.Start + 1}); !errors.Is(err, ErrGone) {
			t.Errorf("error %v", err)
		}
		find(t, os.Getpid())
		membersOf(t, 1<<30)
		// One watch is closed while it watches, one after.
		other, err := NewWatch()
		if err != nil {
			t.Fatal(err)
		}
		if ok, err := other.Add(c.id); !ok || err != nil {
			t.Fatalf("%v, error %v", ok, err)
		}
		if err := other.Close(); err != nil {
			t.Error(err)
		}
		c.end()
		if err := w.Wait(t.Context()); err != nil {
			t.Error(err)
		}
		if err := errors.Join(h.Close(), w.Close()); err != nil {
			t.Error(err)
		}
	}
	if after := descriptors(t); len(after) != before {
		t.Errorf("%d descriptors before, %d after: %q", before, len(after), after)
	}
}

func TestNoPidfds(t *testing.T) {
	fd, err := unix.PidfdOpen(os.Getpid(), 0)
	if err == nil {
		err = unix.PidfdSendSignal(fd, 0, nil, 0)
		unix.Close(fd)
	}
	if reason := noPidfds(); (reason == nil) != (err == nil) {
		t.Errorf("the probe says %v, the system %v", reason, err)
	}
}

// handles and watches are the two ways to hold on to processes.
var (
	handles = map[string]func(Process) (handle, error){"pidfd": openPidfdHandle, "polled": openPolled}
	watches = map[string]func() (watch, error){
		"pidfd":  newPidfdWatch,
		"polled": func() (watch, error) { return &polledWatch{}, nil },
	}
)
