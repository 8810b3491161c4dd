package proctree

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// What a process can do to mislead whoever reads /proc.

const hugeArguments = 1 << 30

func init() {
	roles["huge arguments"] = func() {
		if err := pointArgumentsAt(hugeArguments); err != nil {
			fmt.Println("SKIPPED:", err)
			os.Exit(0)
		}
		roles["idle"]()
	}
	roles["hidden"] = hidden
	roles["/proc is covered"] = mounted(func() error {
		if _, err := Identify(os.Getpid()); err != nil { // from here on it is known
			return err
		}
		return cover("/proc")
	}, func() error { return allFail() })
	roles["/proc is covered with a forgery"] = mounted(func() error {
		self, err := os.ReadFile("/proc/self/stat")
		if err != nil {
			return err
		}
		if _, err := Identify(os.Getpid()); err != nil {
			return err
		}
		dir := fmt.Sprintf("/proc/%d", os.Getpid())
		return errors.Join(cover("/proc"), os.Mkdir(dir, 0o755), os.WriteFile(dir+"/stat", self, 0o644))
	}, func() error { return allFail() })
	roles["/proc is covered by a part of it"] = mounted(func() error {
		return unix.Mount("/proc/self/task", "/proc", "", unix.MS_BIND, "")
	}, func() error { return allFail() })
	roles["/proc is mounted anew"] = mounted(func() error {
		if _, err := Identify(os.Getpid()); err != nil {
			return err
		}
		return unix.Mount("proc", "/proc", "proc", 0, "")
	}, allWork)
	roles["/proc is kept open and covered"] = mounted(func() error {
		return errors.Join(KeepOpen(), cover("/proc"))
	}, allWork)
	roles["one process is shown for another"] = mounted(func() error {
		return unix.Mount("/proc/1", fmt.Sprintf("/proc/%d", os.Getpid()), "", unix.MS_BIND, "")
	}, func() error {
		if id, err := Identify(os.Getpid()); err == nil || errors.Is(err, ErrGone) {
			return fmt.Errorf("identity %v, error %v", id, err)
		}
		return nil
	})
	roles["one process is covered"] = mounted(func() error {
		return cover(fmt.Sprintf("/proc/%d", os.Getpid()))
	}, func() error {
		if id, err := Identify(os.Getpid()); !errors.Is(err, os.ErrPermission) {
			return fmt.Errorf("identity %v, error %v", id, err)
		}
		return nil
	})
}

// mounted returns a role that makes a change to its mounts, which are those of a
// mount namespace of its own, and panics if want returns an error then.
func mounted(change func() error, want func() error) func() {
	return func() {
		if err := errors.Join(unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""), change(), want()); err != nil {
			panic(err)
		}
		roles["idle"]()
	}
}

// cover hides what is below dir.
func cover(dir string) error { return unix.Mount("none", dir, "tmpfs", 0, "") }

// allFail returns an error for each operation that does not return one, or one that
// says that a process is gone.
func allFail() error {
	var errs []error
	for name, err := range everything() {
		if err == nil || errors.Is(err, ErrGone) {
			errs = append(errs, fmt.Errorf("%s: error %v", name, err))
		}
	}
	return errors.Join(errs...)
}

func allWork() error {
	var errs []error
	for name, err := range everything() {
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", name, err))
		}
	}
	return errors.Join(errs...)
}

func everything() map[string]error {
	self := os.Getpid()
	errs := map[string]error{"Usable": Usable()}
	_, errs["Snapshot"] = Snapshot()
	_, errs["Lookup"] = Lookup(self)
	_, errs["Identify"] = Identify(self)
	_, errs["Group"] = Group(syscall.Getpgrp())
	_, errs["Below"] = Below(self)
	_, errs["BelowMainThread"] = BelowMainThread(self)
	_, errs["ChildPIDs"] = ChildPIDs(self)
	_, errs["Select"] = Select([]int{self})
	return errs
}

func TestProcCovered(t *testing.T) {
	needRoot(t)
	for _, role := range []string{
		"/proc is covered", "/proc is covered with a forgery", "/proc is covered by a part of it",
		"/proc is mounted anew", "/proc is kept open and covered",
		"one process is shown for another", "one process is covered",
	} {
		t.Run(role, func(t *testing.T) {
			exe, err := os.Executable()
			if err != nil {
				t.Fatal(err)
			}
			cmd := exec.Command(exe)
			cmd.Env = append(os.Environ(), roleVariable+"="+role)
			cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS, Setpgid: true}
			if out, err := cmd.CombinedOutput(); err != nil || string(out) != "ready\n" {
				t.Errorf("said %q, error %v", out, err)
			}
		})
	}
}

// pointArgumentsAt makes the kernel take that much memory for this process's
// arguments.
func pointArgumentsAt(size int) error {
	args, err := unix.Mmap(-1, 0, size, unix.PROT_READ, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_NORESERVE)
	if err != nil {
		return fmt.Errorf("mmap: %w", err)
	}
	b, err := os.ReadFile("/proc/self/stat")
	if err != nil {
		return err
	}
	fields := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+2:])) // from the third on
	number := func(n int) (v uint64) {
		fmt.Sscan(fields[n-3], &v)
		return v
	}
	begin := uint64(uintptr(unsafe.Pointer(&args[0])))
	layout := struct { // struct prctl_mm_map
		startCode, endCode, startData, endData, startBrk, brk, startStack, argStart, argEnd, envStart, envEnd uint64

		auxv     uint64
		auxvSize uint32
		exeFD    int32
	}{
		number(26), number(27), number(45), number(46), number(47), number(47), number(28),
		begin, begin + uint64(size), number(50), number(51), 0, 0, -1,
	}
	err = unix.Prctl(unix.PR_SET_MM, unix.PR_SET_MM_MAP, uintptr(unsafe.Pointer(&layout)), unsafe.Sizeof(layout), 0)
	return os.NewSyscallError("prctl PR_SET_MM_MAP", err)
}

// TestHugeArguments: a process without privileges says that a GiB is its arguments.
func TestHugeArguments(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	probe := exec.Command(exe)
	probe.Env = append(os.Environ(), roleVariable+"=huge arguments")
	if out, err := probe.CombinedOutput(); err != nil || string(out) != "ready\n" {
		t.Skipf("SKIPPED: the kernel does not let a process move its arguments: %s, %v", out, err)
	}
	c := start(t, "huge arguments")
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	p := find(t, c.Process.Pid)
	p.Args = nil
	rows := Details([]Process{p})
	if _, err := Lookup(p.PID); err != nil {
		t.Error(err)
	}
	runtime.ReadMemStats(&after)
	if grown := after.TotalAlloc - before.TotalAlloc; grown > 64<<20 {
		t.Errorf("%d bytes have been allocated", grown)
	}
	if n := len(rows[0].Args); n == 0 || rows[0].Args[n-1] != "…" {
		t.Errorf("%d arguments, not marked as cut", n)
	}
}

func TestLongArgument(t *testing.T) {
	long := strings.Repeat("x", 100_000)
	p := find(t, start(t, "idle", func(cmd *exec.Cmd) { cmd.Args = append(cmd.Args, long) }).Process.Pid)
	got := p.Args[len(p.Args)-1]
	cut, marked := strings.CutSuffix(got, "…")
	if !marked || len(cut) < 1000 || len(cut) > mostRead || !strings.HasPrefix(long, cut) {
		t.Errorf("an argument of %d bytes, marked: %v", len(got), marked)
	}
}

// TestHidden: what the system hides is there all the same.
func TestHidden(t *testing.T) {
	needRoot(t)
	c := start(t, "idle")
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), roleVariable+"=hidden", "PROCTREE_TEST_PID="+fmt.Sprint(c.Process.Pid))
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS}
	if out, err := cmd.CombinedOutput(); err != nil || string(out) != "ready\n" {
		t.Errorf("said %q, error %v", out, err)
	}
}

// hidden is a process of another user than the one that it may not see.
func hidden() {
	var pid int
	fmt.Sscan(os.Getenv("PROCTREE_TEST_PID"), &pid)
	if err := errors.Join(unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""),
		unix.Mount("proc", "/proc", "proc", 0, "hidepid=2"),
		syscall.Setgid(65534), syscall.Setgroups(nil), syscall.Setuid(65534)); err != nil {
		panic(err)
	}
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 1, 0, 0, 0); err != nil { // setuid has taken /proc/self away
		panic(err)
	}
	if _, err := Identify(pid); !errors.Is(err, os.ErrPermission) {
		panic(fmt.Sprintf("error %v", err))
	}
	if _, err := Identify(1 << 22); !errors.Is(err, ErrGone) {
		panic(fmt.Sprintf("error %v", err))
	}
	roles["idle"]()
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
