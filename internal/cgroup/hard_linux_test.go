package cgroup

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"slices"
	"strconv"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// headlessRole, in the environment, makes the test binary a process of which only other
// threads than the first one live, and which ignores what can be ignored.
const headlessRole = "CGROUP_TEST_HEADLESS"

func init() {
	if os.Getenv(headlessRole) == "" {
		return
	}
	runtime.LockOSThread() // the main thread, as this is an init function
	signal.Ignore(syscall.SIGHUP, syscall.SIGINT, syscall.SIGTERM)
	go func() {
		for !dead(unix.Getpid()) {
			time.Sleep(time.Millisecond)
		}
		fmt.Println("ready")
		os.Stdout.Close()
		time.Sleep(time.Minute)
		syscall.Exit(0)
	}()
	unix.Syscall(unix.SYS_EXIT, 0, 0, 0)
}

// dead reports whether the first thread of a process has ended.
func dead(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	i := slices.Index(b, ')')
	return err == nil && i >= 0 && b[i+2] == 'Z'
}

// headless starts such a process in d, and in a session of its own.
func headless(t *testing.T, d *Dir) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), headlessRole+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: d.FD(), Setsid: true}
	out, err := cmd.StdoutPipe()
	ok(t, err)
	ok(t, cmd.Start())
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	if b, err := io.ReadAll(out); string(b) != "ready\n" {
		t.Fatalf("got %q, error %v", b, err)
	}
	return cmd
}

// TestKillHeadless: the kernel's own kill passes over a process whose first thread has
// ended.
func TestKillHeadless(t *testing.T) {
	for _, file := range []string{"cgroup.kill", "cgroup.not"} {
		for _, nested := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s,nested=%v", file, nested), func(t *testing.T) {
				withKillFile(t, file)
				d := create(t)
				in := d
				if nested {
					in = below(t, below(t, d, "a"), "b")
				}
				for range 3 {
					headless(t, in)
				}
				start(t, in, idle)
				ok(t, d.Signal(unix.SIGTERM))
				ok(t, d.Kill())
				empty(t, d)
				ok(t, d.Remove())
			})
		}
	}
}

// TestKernelsKill is why Kill does more. If this fails, the kernel has been mended.
func TestKernelsKill(t *testing.T) {
	d := create(t)
	headless(t, d)
	ok(t, d.write("cgroup.kill", "1"))
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := d.Empty(ctx); err == nil {
		t.Skip("SKIPPED: cgroup.kill of this kernel reaches all")
	}
	ok(t, d.Kill())
	empty(t, d)
}

// TestMoveHeadless: they stay listed where they were when their first thread ended.
func TestMoveHeadless(t *testing.T) {
	from, to := create(t), create(t)
	headless(t, from)
	start(t, from, idle)
	ok(t, from.MoveTo(to))
	populated(t, from, false)
	populated(t, to, true)
	ok(t, from.Remove())
	ok(t, to.Kill())
	empty(t, to)
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

// TestNoDescriptors: what is held suffices for all that a stop does.
func TestNoDescriptors(t *testing.T) {
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
				if err := d.Empty(ctx); !errors.Is(err, context.DeadlineExceeded) {
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

func TestMoveNoDescriptors(t *testing.T) {
	from, to := create(t), create(t)
	ok(t, from.Hold())
	ok(t, to.HoldEntry())
	c := start(t, from, idle)
	withoutDescriptors(t, 0, func() { ok(t, from.MoveTo(to)) })
	if got := members(t, to); !slices.Equal(got, pidsOf(c)) {
		t.Errorf("got %v", got)
	}
}

// deepen makes cgroups, one in the other, and returns a descriptor of the last.
func deepen(t *testing.T, d *Dir, depth int) *Dir {
	t.Helper()
	fd := duplicate(t, d)
	for range depth {
		ok(t, unix.Mkdirat(fd, "x", 0o755))
		next, err := openAt(fd, "x")
		ok(t, err)
		unix.Close(fd)
		fd = next
	}
	last := newDir(fd, "the last")
	t.Cleanup(func() { last.Close() })
	return last
}

// TestDeep: cgroups a thousand deep take few descriptors, and each as long as another.
func TestDeep(t *testing.T) {
	took := func(depth int) time.Duration {
		d := create(t)
		c := start(t, deepen(t, d, depth), idle)
		var least time.Duration
		withoutDescriptors(t, 10, func() {
			for range 5 {
				began := time.Now()
				pids, err := d.pids()
				if took := time.Since(began); least == 0 || took < least {
					least = took
				}
				if !slices.Equal(pids, pidsOf(c)) || err != nil {
					t.Fatalf("got %v, error %v", pids, err)
				}
			}
			ok(t, d.Signal(unix.SIGTERM, unix.SIGCONT))
			empty(t, d)
			ok(t, d.Kill())
			ok(t, d.Remove())
		})
		return least
	}
	deep := 2000 // which takes the kernel some seconds to make
	if testing.Short() {
		deep = 800
	}
	few, many := took(deep/8), took(deep)
	t.Logf("%d: %v, %d: %v", deep/8, few, deep, many)
	if many > 30*few { // eight times as many; if it were quadratic, 64
		t.Errorf("%d take %v, %d take %v", deep, many, deep/8, few)
	}
}

// TestWide: siblings, and some that are removed meanwhile.
func TestWide(t *testing.T) {
	d := create(t)
	var want []int
	for i := range 30 {
		c := below(t, d, strconv.Itoa(i))
		for range i % 3 {
			c = deepen(t, c, 2)
		}
		if i%10 == 0 {
			want = append(want, start(t, c, idle).Process.Pid)
		}
	}
	slices.Sort(want)
	if got := members(t, d); !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range 50 {
			for _, name := range []string{"5/x/x/x/x", "5/x/x/x", "5/x/x", "8/x/x/x/x", "8/x/x/x"} {
				os.Remove(d.Path() + "/" + name)
			}
			for _, name := range []string{"5/x/x", "5/x/x/x", "5/x/x/x/x", "8/x/x/x", "8/x/x/x/x"} {
				os.Mkdir(d.Path()+"/"+name, 0o755)
			}
		}
	}()
	for looking := true; looking; {
		select {
		case <-done:
			looking = false
		default:
		}
		if got := members(t, d); !slices.Equal(got, want) {
			t.Fatalf("got %v, want %v", got, want)
		}
	}
	ok(t, d.Kill())
	empty(t, d)
	ok(t, d.Remove())
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
