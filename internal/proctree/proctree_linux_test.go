package proctree

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

const weirdName = ") (\n) S 1"

func init() {
	if noPidfds() != nil {
		delete(handles, "pidfd")
		delete(watches, "pidfd")
	}
	// The roles below need the leader of the thread group, on which init runs.
	if os.Getenv(roleVariable) != "" {
		runtime.LockOSThread()
	}
	roles["weird name"] = func() {
		name := append([]byte(weirdName), 0)
		if err := unix.Prctl(unix.PR_SET_NAME, uintptr(unsafe.Pointer(&name[0])), 0, 0, 0); err != nil {
			panic(err)
		}
		roles["idle"]()
	}
	roles["not dumpable"] = func() {
		if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
			panic(err)
		}
		roles["idle"]()
	}
	roles["dead leader"] = func() {
		go func() {
			for {
				p, err := stat(os.Getpid())
				if err != nil {
					panic(err)
				}
				if p.State == Zombie {
					break
				}
			}
			roles["idle"]()
			os.Exit(0)
		}()
		// As a blocking call, so that the runtime takes back what belongs to the thread.
		unix.Syscall(unix.SYS_EXIT, 0, 0, 0)
	}
	// A thread that does not stop until the standard input is closed: it waits in
	// vfork(2).
	roles["busy thread"] = func() {
		go func() {
			runtime.LockOSThread()
			var b [1]byte
			if pid, _, _ := unix.RawSyscall(unix.SYS_CLONE, unix.CLONE_VFORK|uintptr(unix.SIGCHLD), 0, 0); pid == 0 {
				unix.RawSyscall(unix.SYS_CLOSE, 1, 0, 0) // of which the test wants the end
				unix.RawSyscall(unix.SYS_READ, 0, uintptr(unsafe.Pointer(&b)), 1)
				unix.RawSyscall(unix.SYS_EXIT, 0, 0, 0)
			}
		}()
		for busy := false; !busy; {
			threads, err := filepath.Glob("/proc/self/task/*/stat")
			if err != nil {
				panic(err)
			}
			for _, thread := range threads {
				b, _ := os.ReadFile(thread)
				p, err := parseStat(b)
				busy = busy || err == nil && p.State == Disk
			}
		}
		roles["idle"]()
	}
	roles["signal the parent"] = func() {
		id, err := Identify(os.Getppid())
		if err != nil {
			panic(err)
		}
		for _, open := range handles {
			h, err := open(id)
			if err != nil {
				panic(err)
			}
			// Signal 0: it asks, and does nothing.
			if err := (&Handle{id, h}).Signal(syscall.Signal(0)); !errors.Is(err, os.ErrPermission) || !errors.Is(err, syscall.EPERM) {
				panic(fmt.Sprintf("error %v", err))
			}
		}
		roles["idle"]()
	}
	roles["foreign /proc"] = func() {
		if table, err := Snapshot(); err == nil {
			panic(fmt.Sprintf("%d processes of another PID namespace", len(table)))
		}
		if id, err := Identify(os.Getpid()); err == nil || errors.Is(err, ErrGone) {
			panic(fmt.Sprintf("identity %v, error %v", id, err))
		}
		roles["idle"]()
	}
}

// handles and watches are the two ways to hold on to processes.
var (
	handles = map[string]func(ID) (handle, error){"pidfd": openPidfdHandle, "polled": openPolled}
	watches = map[string]func() (watch, error){
		"pidfd":  newPidfdWatch,
		"polled": func() (watch, error) { return &polledWatch{}, nil },
	}
)

// waitExit waits until c has ended, by other means than those that are tested.
func waitExit(t *testing.T, c *child) {
	t.Helper()
	_, err := retry(func() (struct{}, error) {
		return struct{}{}, unix.Waitid(unix.P_PID, c.Process.Pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
	})
	if err != nil {
		t.Fatal(err)
	}
}

func group1(t *testing.T, pgid int) []Process {
	t.Helper()
	members, err := Group(pgid)
	if err != nil {
		t.Fatal(err)
	}
	return members
}

func setpgid(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }
func setsid(cmd *exec.Cmd)  { cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} }

func needRoot(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED: needs root")
	}
}

func TestFields(t *testing.T) {
	sid, err := unix.Getsid(0)
	if err != nil {
		t.Fatal(err)
	}
	self := find(t, os.Getpid())
	comm, err := os.ReadFile("/proc/self/comm")
	if err != nil {
		t.Fatal(err)
	}
	if self.PGID != syscall.Getpgrp() || self.SID != sid || self.Threads < 2 || self.RSS < 1<<20 ||
		self.User != strconv.Itoa(os.Geteuid()) || self.Name+"\n" != string(comm) {
		t.Errorf("got %+v, want group %d, session %d, user %d, name %q", self, syscall.Getpgrp(), sid, os.Geteuid(), comm)
	}
	p := find(t, start(t, "idle", setsid).Process.Pid)
	if p.PGID != p.PID || p.SID != p.PID {
		t.Errorf("session leader: %+v", p)
	}
	p = find(t, start(t, "weird name").Process.Pid)
	if p.Name != weirdName || p.PPID != os.Getpid() || p.Threads < 2 {
		t.Errorf("weird name: %+v", p)
	}
}

func TestUserOfOther(t *testing.T) {
	needRoot(t)
	// Nobody may be unable to reach the directory of the test binary.
	nobody := func(cmd *exec.Cmd) {
		cmd.Path, cmd.Dir = "/proc/self/exe", "/"
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	}
	for _, role := range []string{"idle", "not dumpable"} {
		if p := find(t, start(t, role, nobody).Process.Pid); p.User != "65534" {
			t.Errorf("%s: user %s", role, p.User)
		}
	}
	start(t, "signal the parent", nobody)
}

func TestForeignProc(t *testing.T) {
	needRoot(t)
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), roleVariable+"=foreign /proc")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID}
	if out, err := cmd.CombinedOutput(); err != nil || string(out) != "ready\n" {
		t.Errorf("said %q, error %v", out, err)
	}
}

func TestThreadIsNoProcess(t *testing.T) {
	c := start(t, "idle")
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*", c.Process.Pid))
	if err != nil || len(tasks) < 2 {
		t.Fatalf("threads %q, error %v", tasks, err)
	}
	for _, task := range tasks {
		tid, err := strconv.Atoi(filepath.Base(task))
		if err != nil {
			t.Fatal(err)
		}
		if tid == c.Process.Pid {
			continue
		}
		if p, err := Lookup(tid); !errors.Is(err, ErrGone) {
			t.Errorf("thread %d: %+v, error %v", tid, p, err)
		}
		p, err := stat(tid)
		if err != nil {
			t.Fatal(err)
		}
		for name, open := range handles {
			if _, err := open(p.ID); !errors.Is(err, ErrGone) {
				t.Errorf("%s: thread %d: error %v", name, tid, err)
			}
		}
	}
}

func TestGroup(t *testing.T) {
	if members := group1(t, 0); members != nil {
		t.Errorf("group 0: %+v", members)
	}
	leader := start(t, "idle", setpgid)
	pgid := leader.Process.Pid
	member := start(t, "idle", func(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pgid: pgid} })
	ids := func() (ids []ID) {
		for _, p := range group1(t, pgid) {
			if p.PGID != pgid || p.PPID != os.Getpid() || p.Name == "" || p.Threads < 2 || p.Started.IsZero() {
				t.Errorf("got %+v", p)
			}
			ids = append(ids, p.ID)
		}
		return ids
	}
	if got := ids(); len(got) != 2 || !slices.Contains(got, leader.id) || !slices.Contains(got, member.id) {
		t.Errorf("got %v, want %v and %v", got, leader.id, member.id)
	}
	// A zombie is in the table, but it is not a live member.
	leader.input.Close()
	waitExit(t, leader)
	if got := ids(); len(got) != 1 || got[0] != member.id {
		t.Errorf("got %v, want %v", got, member.id)
	}
	p := find(t, pgid)
	if p.Alive() || p.State != Zombie || p.Args != nil || p.PGID != pgid {
		t.Errorf("zombie: %+v", p)
	}
	member.input.Close()
	waitExit(t, member)
	if got := ids(); len(got) != 0 {
		t.Errorf("got %v, want none", got)
	}
}

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
		sys, err := open(c.id)
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
			if members := group1(t, p.PID); len(members) != 1 || members[0].ID != c.id {
				t.Errorf("members %+v", members)
			}
			sys, err := open(c.id)
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

// TestStopping: a process has stopped when all of its threads have.
func TestStopping(t *testing.T) {
	c := start(t, "busy thread")
	if err := c.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	defer c.Process.Signal(syscall.SIGCONT)
	first := fmt.Sprintf("/proc/%d/task/%[1]d/stat", c.Process.Pid)
	comesTo := func(state func() State, want State) {
		t.Helper()
		for deadline := time.Now().Add(10 * time.Second); state() != want; time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("state %c; want %c", state(), want)
			}
		}
	}
	comesTo(func() State {
		b, err := os.ReadFile(first)
		if err != nil {
			t.Fatal(err)
		}
		p, err := parseStat(b)
		if err != nil {
			t.Fatal(err)
		}
		return p.State
	}, Stopped)
	process := func() State { return find(t, c.Process.Pid).State }
	comesTo(process, Disk)
	c.input.Close()
	comesTo(process, Stopped)
	if err := c.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	waitExit(t, c)
}

func TestSignal(t *testing.T) {
	for name, open := range handles {
		c := start(t, "idle")
		sys, err := open(c.id)
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
		if _, err := open(c.id); !errors.Is(err, ErrGone) {
			t.Errorf("%s: open: error %v", name, err)
		}
		if err := h.Close(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

type notSyscall struct{}

func (notSyscall) String() string { return "no signal" }
func (notSyscall) Signal()        {}

func TestRecycledPID(t *testing.T) {
	for name, open := range handles {
		t.Run(name, func(t *testing.T) {
			before := start(t, "idle")
			sys, err := open(before.id)
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
			if _, err := open(before.id); !errors.Is(err, ErrGone) {
				t.Errorf("open: error %v", err)
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

func descriptors(t *testing.T) []string {
	t.Helper()
	dir, err := os.Open("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	names, err := dir.Readdirnames(0)
	if err != nil {
		t.Fatal(err)
	}
	// Less the one for the look.
	return slices.DeleteFunc(names, func(name string) bool { return name == strconv.Itoa(int(dir.Fd())) })
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
		group1(t, 1<<30)
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

func TestProbe(t *testing.T) {
	fd, err := unix.PidfdOpen(os.Getpid(), 0)
	if err == nil {
		err = unix.PidfdSendSignal(fd, 0, nil, 0)
		unix.Close(fd)
	}
	if reason := noPidfds(); (reason == nil) != (err == nil) {
		t.Errorf("the probe says %v, the system %v", reason, err)
	}
}

// TestBelow: a tree in which a process has lost its parent, and one has threads.
func TestBelow(t *testing.T) {
	cmd := exec.Command("sh", "-c", "sh -c 'sleep 60 & echo; wait' & sh -c 'sleep 60 & echo; exit' & wait %2; wait")
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	// Go's test binary has threads, and is a subreaper for as long as this test
	// runs.
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		t.Fatal(err)
	}
	defer unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)
	if err := onOtherThread(cmd.Start); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(stdout, make([]byte, 2)); err != nil {
		t.Fatal(err)
	}
	count := func(rows []Process, name string) (n int) {
		for _, row := range rows {
			if row.Name == name {
				n++
			}
		}
		return n
	}
	deadline := time.Now().Add(10 * time.Second)
	for {
		rows, err := Below(os.Getpid())
		if err != nil {
			t.Fatal(err)
		}
		// The shell, the one that waits, and the two sleepers.
		if count(rows, "sh") == 2 && count(rows, "sleep") == 2 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%+v", rows)
		}
	}
	pids, err := ChildPIDs(os.Getpid())
	if err != nil {
		t.Error(err)
	}
	rows, err := Below(os.Getpid())
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
	if orphans != 1 || !slices.Contains(pids, cmd.Process.Pid) {
		t.Errorf("children %v, %d orphans; want the shell and one", pids, orphans)
	}
	if adopted, err := BelowMainThread(os.Getpid()); err != nil || len(adopted) != 1 || adopted[0].Name != "sleep" {
		t.Errorf("adopted: %+v, error %v", adopted, err)
	}
	if all, err := BelowMainThread(os.Getpid(), cmd.Process.Pid); err != nil || count(all, "sh") != 2 || count(all, "sleep") != 2 {
		t.Errorf("below the shell as well: %+v, error %v", all, err)
	}
	var adopted MainThreadChildren
	defer adopted.Close()
	if now, err := adopted.List(); err != nil || len(now) != 1 || now[0] == cmd.Process.Pid || !slices.Contains(pids, now[0]) {
		t.Errorf("adopted: %v, error %v", now, err)
	}
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
	cmd.Wait()
	for _, pid := range pids {
		if pid != cmd.Process.Pid {
			unix.Wait4(pid, nil, 0, nil)
		}
	}
	for len(pids) > 0 && err == nil { // the one that waited is adopted when the shell has ended
		if pids, err = adopted.List(); len(pids) > 0 {
			unix.Wait4(pids[0], nil, 0, nil)
		}
	}
	if err != nil {
		t.Error(err)
	}
	before := len(descriptors(t))
	if err := adopted.Close(); err != nil || len(descriptors(t)) != before-1 {
		t.Errorf("%d descriptors before, %d after, error %v", before, len(descriptors(t)), err)
	}
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

// TestGroupOnTheMove: a group is not empty because each of its members ends
// before it is looked at, having started the next one.
func TestGroupOnTheMove(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	// Each link is a program, which takes a millisecond. A chain of mere forks is
	// faster than looks are.
	const link = `[ "$1" = 0 ] || sh -c "$0" "$0" $(($1 - 1)) &`
	chain := exec.Command("sh", "-c", link, link, "500")
	chain.Stdout = w
	chain.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	err = chain.Start()
	w.Close()
	if err != nil {
		t.Fatal(err)
	}
	defer chain.Wait() // so long, it pins the number of the group
	looks := 0
	for began := time.Now(); ; looks++ {
		live, err := Group(chain.Process.Pid)
		if err != nil {
			t.Fatal(err)
		}
		if len(live) > 0 {
			if time.Since(began) > time.Minute {
				t.Fatal("the chain does not end")
			}
			continue
		}
		// What is not there has closed the pipe before.
		end := []unix.PollFd{{Fd: int32(r.Fd())}}
		if n, err := retry(func() (int, error) { return unix.Poll(end, 0) }); n != 1 || end[0].Revents&unix.POLLHUP == 0 {
			t.Fatalf("nobody is left after %d looks, but the pipe is open: %v", looks, err)
		}
		break
	}
	t.Logf("%d looks", looks)
}

// TestBorn: what is taken for the start time without a look is what the table has.
func TestBorn(t *testing.T) {
	const many = 200
	unseen := 0
	for range many {
		before := Now()
		cmd := exec.Command("true")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if before.start != 0 && before == Now() {
			unseen++
		}
		got, err := before.Born(cmd.Process.Pid)
		want, ierr := Identify(cmd.Process.Pid)
		cmd.Wait()
		if got != want || err != nil || ierr != nil {
			t.Fatalf("got %v, %v; the table has %v, %v", got, err, want, ierr)
		}
	}
	if unseen < many/4 { // a fork takes a millisecond, a tick is ten
		t.Errorf("%d of %d were known without a look", unseen, many)
	}
}
