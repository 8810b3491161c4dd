package cgroup

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// soon is how long something may take that must happen.
const soon = 10 * time.Second

// create makes a cgroup, and removes it after the test with all that is in it.
func create(t *testing.T) *Dir {
	t.Helper()
	own, err := Own()
	if err != nil {
		t.Skip("SKIPPED: ", err)
	}
	path, err := os.MkdirTemp(own, "corral-test-*")
	if err != nil {
		t.Skip("SKIPPED: ", err)
	}
	d, err := Open(path)
	if err = errors.Join(err, os.Chmod(path, 0o755)); err != nil {
		os.Remove(path)
		t.Fatal(err)
	}
	t.Cleanup(func() {
		// By another descriptor, as the test may have closed that of d.
		left, err := Open(path)
		if errors.Is(err, os.ErrNotExist) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		defer left.Close()
		if err := left.Kill(); err != nil {
			t.Error(err)
		}
		// Remove alone waits for a second, which many members may take to end.
		ctx, cancel := context.WithTimeout(context.Background(), soon)
		defer cancel()
		if err := left.AwaitEmpty(ctx); err != nil {
			t.Error(err)
		}
		if err := left.Remove(); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() { d.Close() }) // an error if the test has closed it
	if err := probe(d); err != nil {
		t.Skip("SKIPPED: ", err)
	}
	return d
}

// below makes a cgroup in d.
func below(t *testing.T, d *Dir, name string) *Dir {
	t.Helper()
	c, err := Create(filepath.Join(d.Path(), name))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// child is a process that was started in a cgroup.
type child struct {
	*exec.Cmd
	out *bufio.Reader
}

// start starts a shell in d, which finds the path of d in $D, and waits until it
// has written "ready".
func start(t *testing.T, d *Dir, script string) *child {
	t.Helper()
	cmd := exec.Command("sh", "-c", script)
	cmd.Env = append(os.Environ(), "D="+d.Path())
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: d.FD()}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	c := &child{cmd, bufio.NewReader(out)}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	if line, err := c.out.ReadString('\n'); line != "ready\n" {
		t.Fatalf("%s: got %q, error %v", script, line, err)
	}
	return c
}

const idle = "echo ready; exec sleep 60"

func populated(t *testing.T, d *Dir, want bool) {
	t.Helper()
	if got, err := d.Populated(); err != nil || got != want {
		t.Fatalf("populated %v, error %v", got, err)
	}
}

// empty waits until d is.
func empty(t *testing.T, d *Dir) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), soon)
	defer cancel()
	if err := d.AwaitEmpty(ctx); err != nil {
		t.Fatal(err)
	}
	populated(t, d, false)
}

func members(t *testing.T, d *Dir) []int {
	t.Helper()
	rows, err := d.Members()
	if err != nil {
		t.Fatal(err)
	}
	var pids []int
	for _, p := range rows {
		if !p.Alive() || p.Start == 0 {
			t.Errorf("got %+v", p)
		}
		pids = append(pids, p.PID)
	}
	return pids
}

func pidsOf(children ...*child) []int {
	var pids []int
	for _, c := range children {
		pids = append(pids, c.Process.Pid)
	}
	slices.Sort(pids)
	return pids
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestCreate(t *testing.T) {
	d := create(t)
	if _, err := Create(d.Path()); !errors.Is(err, os.ErrExist) {
		t.Errorf("error %v", err)
	}
	if _, err := Open(d.Path() + "-not"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("error %v", err)
	}
	if _, err := Create(d.Path() + "-not/x"); !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), d.Path()+"-not/x") {
		t.Errorf("error %v", err)
	}
}

// TestEnter: this process moves to a new cgroup, and not to one that is there.
func TestEnter(t *testing.T) {
	d := create(t)
	before, err := Own()
	ok(t, err)
	home, err := Open(before)
	ok(t, err)
	defer home.Close()
	own := func(want string) {
		t.Helper()
		if got, err := Own(); err != nil || got != want {
			t.Errorf("in %s, %v; want %s", got, err, want)
		}
	}
	if err := Enter(d.Path()); !errors.Is(err, os.ErrExist) {
		t.Error(err)
	}
	own(before)
	path := filepath.Join(d.Path(), "x")
	defer home.Admit(os.Getpid())
	ok(t, Enter(path))
	own(path)
}

// TestLifeOfADir: what a cgroup says of itself without members, with one, and when
// it is gone, and that none of it leaves a descriptor open.
func TestLifeOfADir(t *testing.T) {
	cycle := func() {
		d := create(t)
		populated(t, d, false)
		if err := d.Signal(unix.SIGTERM); err != os.ErrProcessDone {
			t.Errorf("signal: error %v", err)
		}
		c := start(t, d, idle)
		populated(t, d, true)
		if got := members(t, d); !slices.Equal(got, pidsOf(c)) {
			t.Errorf("members %v", got)
		}
		ok(t, d.Signal(unix.SIGTERM))
		c.Wait()
		empty(t, d)
		ok(t, d.Remove())
		if _, err := os.Stat(d.Path()); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("error %v", err)
		}
		// Also with one that has not opened cgroup.events before.
		late := FromFD(duplicate(t, d), d.Path())
		for _, d := range []*Dir{d, late} {
			empty(t, d)
			ok(t, d.Kill())
			ok(t, d.Remove())
			ok(t, d.MoveTo(d))
			if got := members(t, d); got != nil {
				t.Errorf("members %v", got)
			}
			if err := d.Signal(unix.SIGCONT); err != os.ErrProcessDone {
				t.Errorf("signal: error %v", err)
			}
			if err := probe(d); err == nil {
				t.Error("a process was born in a cgroup that is gone")
			}
			ok(t, d.Close())
		}
	}
	cycle() // the runtime opens some for itself
	before := descriptors(t)
	for range 3 {
		cycle()
	}
	if after := descriptors(t); after != before {
		t.Errorf("%d descriptors before, %d after", before, after)
	}
}

func duplicate(t *testing.T, d *Dir) int {
	t.Helper()
	fd, err := unix.FcntlInt(uintptr(d.FD()), unix.F_DUPFD_CLOEXEC, 0)
	ok(t, err)
	return fd
}

func descriptors(t *testing.T) int {
	names, err := os.ReadDir("/proc/self/fd")
	ok(t, err)
	return len(names)
}

// moves is a shell that leaves for a cgroup of its own making.
const moves = "mkdir -p $D/a/b; echo $$ >$D/a/b/cgroup.procs; echo ready; exec sleep 60"

// asNobody calls f on a thread without privileges, which ends with it.
func asNobody(f func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		const nobody = 65534
		if _, _, err := unix.RawSyscall(unix.SYS_SETRESUID, nobody, nobody, nobody); err != 0 {
			panic(err)
		}
		f()
	}()
	<-done
}

// TestHolds: a cgroup holds whoever is in it or below.
func TestHolds(t *testing.T) {
	below := create(t)
	own, err := Own()
	ok(t, err)
	for path, want := range map[string]bool{own: true, filepath.Dir(own): true, below.Path(): false} {
		if _, err := os.Stat(filepath.Join(path, "cgroup.procs")); err != nil {
			continue // own is the root of the hierarchy
		}
		d, err := Open(path)
		ok(t, err)
		if got, err := d.Holds(); got != want || err != nil {
			t.Errorf("%s: %v, %v; want %v", path, got, err, want)
		}
		d.Close()
	}
}

// TestRootUnsupported: to the root of the hierarchy nothing is done. It sends
// signal 0 only.
func TestRootUnsupported(t *testing.T) {
	own, err := Own()
	if err != nil {
		t.Skip("SKIPPED: ", err)
	}
	if _, err := os.Stat(filepath.Join(own, "cgroup.events")); err == nil {
		t.Skip("SKIPPED: not in the root of the hierarchy")
	}
	d, err := Open(own)
	ok(t, err)
	defer d.Close()
	if got, err := d.Populated(); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("populated %v, error %v", got, err)
	}
	if err := d.Signal(syscall.Signal(0)); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("signal: error %v", err)
	}
}

// TestLock: the lock is held as long as a process has the descriptor.
func TestLock(t *testing.T) {
	d := create(t)
	locked := func(d *Dir, want bool) {
		t.Helper()
		if got, err := d.Lock(); got != want || err != nil {
			t.Errorf("got %v, error %v", got, err)
		}
	}
	holder, err := Open(d.Path())
	ok(t, err)
	locked(holder, true)
	locked(holder, true)
	locked(d, false)

	file := os.NewFile(uintptr(duplicate(t, holder)), d.Path())
	heir := exec.Command("sleep", "60")
	heir.ExtraFiles = []*os.File{file}
	ok(t, heir.Start())
	t.Cleanup(func() {
		heir.Process.Kill()
		heir.Wait()
	})
	inherited := FromFD(duplicate(t, holder), d.Path())
	ok(t, file.Close())
	ok(t, holder.Close())
	locked(d, false)
	locked(inherited, true)
	ok(t, inherited.Close())
	locked(d, false)
	heir.Process.Kill()
	heir.Wait()
	locked(d, true)
}

// invalid makes a cgroup in which nothing can be, as its parent is threaded.
func invalid(t *testing.T, d *Dir) *Dir {
	threaded := below(t, d, "threaded")
	ok(t, threaded.write("cgroup.type", "threaded"))
	return below(t, threaded, "invalid")
}

func TestProbeThreaded(t *testing.T) {
	err := probe(invalid(t, create(t)))
	if !errors.Is(err, unix.EOPNOTSUPP) || !strings.Contains(err.Error(), "(domain invalid)") {
		t.Errorf("error %v", err)
	}
}

// probe returns nil if a process can be born in d (CLONE_INTO_CGROUP of
// clone(2), since Linux 5.7), else the reason why not, found out by doing it:
// the system's error and, if that may be the reason, the type of the cgroup.
//
// Some versions of Linux, 6.18 among them, kill a process at its birth in
// another cgroup than the parent's if cgroup.kill of one of the two has been
// written to before.
func probe(d *Dir) error {
	// The birth comes first, then the failure to execute what is no directory.
	const path = "/dev/null/corral-probe"
	p, err := os.StartProcess(path, []string{path}, &os.ProcAttr{
		Sys: &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: d.fd},
	})
	if errors.Is(err, unix.ENOTDIR) {
		return nil
	}
	if err == nil {
		// It was killed before it could fail.
		var state *os.ProcessState
		if state, err = p.Wait(); err == nil {
			err = fmt.Errorf("at its birth: %v", state)
		}
	}
	var reason *os.PathError
	if errors.As(err, &reason) {
		err = reason.Err // the path would say nothing
	}
	if kind, _ := d.read("cgroup.type"); len(kind) > 0 && string(kind) != "domain\n" {
		return fmt.Errorf("cgroup: start a process in %s (%s): %w", d.path, bytes.TrimSpace(kind), err)
	}
	return fmt.Errorf("cgroup: start a process in %s: %w", d.path, err)
}

func TestMark(t *testing.T) {
	d := create(t)
	if d.Marked() {
		t.Error("marked")
	}
	ok(t, d.Mark())
	again, err := Open(d.Path())
	ok(t, err)
	defer again.Close()
	if !again.Marked() {
		t.Error("not marked")
	}
}

// TestMend: what others can do to a cgroup that processes are to be born in.
func TestMend(t *testing.T) {
	d := create(t)
	ok(t, d.Usable())
	for _, name := range limits {
		ok(t, d.write(name, "0"))
	}
	ok(t, d.write("cgroup.freeze", "1"))
	if _, err := Create(d.Path() + "/x"); !errors.Is(err, unix.EAGAIN) {
		t.Errorf("error %v", err)
	}
	ok(t, d.Mend())
	c := below(t, d, "x")
	if clean, err := c.Pristine(); !clean || err != nil {
		t.Errorf("got %v, error %v", clean, err)
	}
	ok(t, probe(c))
	ok(t, c.write("cgroup.type", "threaded"))
	if clean, err := c.Pristine(); clean || err != nil {
		t.Errorf("got %v, error %v", clean, err)
	}
	if err := d.Usable(); err == nil {
		t.Error("it is the root of a threaded subtree, and usable")
	}
}

// withoutDescriptors calls f while the process can open nothing.
func withoutDescriptors(t *testing.T, left int, f func()) {
	t.Helper()
	next, err := unix.Dup(0) // the lowest number that is free
	ok(t, err)
	ok(t, unix.Close(next))
	var before unix.Rlimit
	ok(t, unix.Getrlimit(unix.RLIMIT_NOFILE, &before))
	few := before
	few.Cur = uint64(next + left)
	ok(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &few))
	defer func() { ok(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &before)) }()
	f()
}

// TestStopWithoutDescriptors: what is held suffices for all that a stop does.
func TestStopWithoutDescriptors(t *testing.T) {
	for _, left := range []int{0, 1, 2, 3} {
		t.Run(strconv.Itoa(left), func(t *testing.T) {
			d, other := create(t), create(t)
			ok(t, d.Hold())
			ok(t, other.Hold())
			polite, rude := start(t, d, "trap 'exit 7' TERM; echo ready; sleep 60 & wait"), headless(t, d)
			moved := start(t, other, idle)
			withoutDescriptors(t, left, func() {
				rows, err := d.Members()
				if len(rows) < 2 || err != nil {
					t.Errorf("got %v, error %v", rows, err)
				}
				ok(t, d.Signal(unix.SIGTERM, unix.SIGCONT))
				exits(t, polite, 7)
				ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
				defer cancel()
				if err := d.AwaitEmpty(ctx); !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("error %v", err)
				}
				ok(t, d.Kill())
				empty(t, d)
				ok(t, other.Kill())
				empty(t, other)
			})
			rude.Wait()
			moved.Wait()
		})
	}
}
