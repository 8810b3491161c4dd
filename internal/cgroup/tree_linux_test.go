package cgroup

import (
	"errors"
	"os"
	"runtime"
	"slices"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

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

// cpuTime returns how long the thread has run. Unlike the clock on the wall it does
// not run on while others have the CPU.
func cpuTime(t *testing.T) time.Duration {
	t.Helper()
	var ts unix.Timespec
	ok(t, unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &ts))
	return time.Duration(ts.Nano())
}

// TestWalkDeep: cgroups a thousand deep take few descriptors, and each as long as
// another.
func TestWalkDeep(t *testing.T) {
	runtime.LockOSThread() // for cpuTime
	defer runtime.UnlockOSThread()
	took := func(depth int) time.Duration {
		d := create(t)
		c := start(t, deepen(t, d, depth), idle)
		var least time.Duration
		withoutDescriptors(t, 10, func() {
			for range 5 {
				began := cpuTime(t)
				pids, err := d.pids()
				if took := cpuTime(t) - began; least == 0 || took < least {
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

// TestWalkWide: siblings, and some that are removed meanwhile.
func TestWalkWide(t *testing.T) {
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

func TestRemove(t *testing.T) {
	d := create(t)
	for _, path := range []string{"a", "a/b", "a/b/c", "a/d", "e"} {
		below(t, d, path)
	}
	c := start(t, d, moves)
	if err := d.Remove(); !errors.Is(err, unix.EBUSY) {
		t.Errorf("error %v", err)
	}
	c.Process.Kill()
	// It waits for the end. That may take longer than it waits on a busy machine, but
	// then it has waited.
	for killed := time.Now(); ; {
		began := time.Now()
		err := d.Remove()
		if took := time.Since(began); !errors.Is(err, unix.EBUSY) || took < time.Second || time.Since(killed) > soon {
			if err != nil {
				t.Fatalf("error %v after %v", err, took)
			}
			break
		}
	}
	// Another one has taken the name.
	again, err := Create(d.Path())
	ok(t, err)
	defer again.Close()
	ok(t, d.Remove())
	populated(t, again, false)
	if err := probe(again); err != nil {
		t.Error(err)
	}
}
