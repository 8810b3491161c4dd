package cgroup

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// headlessRole, in the environment, makes the test binary a process of which only
// other threads than the first one live, and which ignores what can be ignored.
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

// TestKillHeadless: the kernel's own kill passes over a process whose first thread
// has ended.
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

// TestKernelKillMissesHeadless is why Kill does more. If this fails, the kernel has
// been mended.
func TestKernelKillMissesHeadless(t *testing.T) {
	d := create(t)
	headless(t, d)
	ok(t, d.write("cgroup.kill", "1"))
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := d.AwaitEmpty(ctx); err == nil {
		t.Skip("SKIPPED: cgroup.kill of this kernel reaches all")
	}
	ok(t, d.Kill())
	empty(t, d)
}

func TestSignalOnce(t *testing.T) {
	d := create(t)
	// The shell waits in a child that gets the signal too, and is followed by
	// another one, so that one look at the members does not suffice.
	c := start(t, d, `trap 'echo got; n=$((n+1))' TERM; echo ready; while [ ! "$n" ]; do sleep 60 & wait $!; done; sleep 60`)
	for range 3 {
		start(t, d, idle)
	}
	sent, denied, err := d.signal(unix.SIGTERM)
	if sent < 4 || denied != nil || err != nil {
		t.Errorf("sent %d, denied %v, error %v", sent, denied, err)
	}
	if line, err := c.out.ReadString('\n'); line != "got\n" {
		t.Fatalf("got %q, error %v", line, err)
	}
	ok(t, d.Kill())
	if rest, err := io.ReadAll(c.out); len(rest) > 0 || err != nil {
		t.Errorf("got %q, error %v", rest, err)
	}
}

// TestSignalMany: more members than are opened at a time, and none is told apart.
func TestSignalMany(t *testing.T) {
	d := create(t)
	const many = maxHandles + 44
	start(t, d, "i=1; while [ $i -lt "+strconv.Itoa(many)+" ]; do sleep 60 & i=$((i+1)); done; echo ready; exec sleep 60")
	if sent, denied, err := d.signal(syscall.Signal(0)); sent != many || denied != nil || err != nil {
		t.Errorf("sent %d, denied %v, error %v", sent, denied, err)
	}
	ok(t, d.Signal(unix.SIGTERM))
	empty(t, d)
}

// TestSignalFewDescriptors: there are not as many as members.
func TestSignalFewDescriptors(t *testing.T) {
	d := create(t)
	const many = 50
	start(t, d, "i=1; while [ $i -lt "+strconv.Itoa(many)+" ]; do sleep 60 & i=$((i+1)); done; echo ready; exec sleep 60")
	next, err := unix.Dup(0) // the lowest number that is free
	ok(t, err)
	ok(t, unix.Close(next))
	var before unix.Rlimit
	ok(t, unix.Getrlimit(unix.RLIMIT_NOFILE, &before))
	few := before
	few.Cur = uint64(next) + 20
	ok(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &few))
	sent, denied, err := d.signal(syscall.Signal(0))
	ok(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &before))
	if sent != many || denied != nil || err != nil {
		t.Errorf("sent %d, denied %v, error %v", sent, denied, err)
	}
}

// TestSignalMeanwhile: those that are born upon the signal get it too.
func TestSignalMeanwhile(t *testing.T) {
	d := create(t)
	start(t, d, "trap 'trap - TERM; sleep 60; exit' TERM; echo ready; sleep 60 & wait")
	ctx, cancel := context.WithTimeout(t.Context(), soon)
	defer cancel()
	for {
		// A child that is born after the last look is for the next call.
		if err := d.Signal(unix.SIGTERM); err == os.ErrProcessDone {
			break
		} else if err != nil || ctx.Err() != nil {
			t.Fatalf("error %v, members %v", err, members(t, d))
		}
	}
	empty(t, d)
}

func TestSignalStopped(t *testing.T) {
	d := create(t)
	c := start(t, d, `trap 'exit 7' TERM; echo ready; kill -STOP $$; sleep 60 & wait`)
	ok(t, unix.Waitid(unix.P_PID, c.Process.Pid, nil, unix.WSTOPPED|unix.WNOWAIT, nil))
	ok(t, d.Signal(unix.SIGTERM))
	ok(t, d.Signal(unix.SIGCONT))
	exits(t, c, 7)
}

func exits(t *testing.T, c *child, code int) {
	t.Helper()
	timer := time.AfterFunc(soon, func() { c.Process.Kill() })
	defer timer.Stop()
	c.Wait()
	if got := c.ProcessState.ExitCode(); got != code {
		t.Errorf("got %v", c.ProcessState)
	}
}

// frozen starts a shell in a cgroup below d, which it freezes.
func frozen(t *testing.T, d *Dir) *child {
	t.Helper()
	c := start(t, d, `trap 'exit 7' TERM; mkdir $D/ice; echo $$ >$D/ice/cgroup.procs; echo ready; echo 1 >$D/ice/cgroup.freeze; sleep 60 & wait`)
	ice, err := Open(filepath.Join(d.Path(), "ice"))
	ok(t, err)
	defer ice.Close()
	ctx, cancel := context.WithTimeout(t.Context(), soon)
	defer cancel()
	ok(t, ice.await(ctx, func(now status) bool { return now.frozen }, nil))
	return c
}

func TestSignalFrozen(t *testing.T) {
	d := create(t)
	c := frozen(t, d)
	ok(t, d.Signal(unix.SIGTERM))
	populated(t, d, true)
	// Thawed, it may have ended before the signal is sent.
	if err := d.Signal(unix.SIGCONT); err != nil && err != os.ErrProcessDone {
		t.Error(err)
	}
	exits(t, c, 7)
}

func TestSignalDenied(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED: needs root")
	}
	d := create(t)
	start(t, d, idle)
	asNobody(func() {
		if err := d.Signal(unix.SIGTERM); !errors.Is(err, os.ErrPermission) {
			t.Errorf("signal: error %v", err)
		}
		if err := d.Kill(); !errors.Is(err, os.ErrPermission) {
			t.Errorf("kill: error %v", err)
		}
		if err := d.MoveTo(d); !errors.Is(err, os.ErrPermission) {
			t.Errorf("move: error %v", err)
		}
		if err := probe(d); !errors.Is(err, os.ErrPermission) {
			t.Errorf("probe: error %v", err)
		}
		if _, err := Create(d.Path() + "/x"); !errors.Is(err, os.ErrPermission) {
			t.Errorf("create: error %v", err)
		}
		// What anybody may do.
		if got, err := d.Members(); len(got) != 1 || err != nil {
			t.Errorf("members %v, error %v", got, err)
		}
	})
	populated(t, d, true)
}

func TestKill(t *testing.T) {
	for name, script := range map[string]string{
		"one":     idle,
		"ignores": "trap '' TERM INT HUP; echo ready; sleep 60",
		"moves":   moves,
		"session": "setsid sh -c 'echo ready; sleep 60' & wait",
		// Each shell starts the next one and ends, a few thousand times.
		"chain": `export n=4000 S='[ $((n-=1)) -gt 0 ] && sh -c "$S" & exit'; sh -c "$S"; echo ready`,
	} {
		for _, file := range []string{"cgroup.kill", "cgroup.not"} {
			t.Run(name+"/"+file, func(t *testing.T) {
				withKillFile(t, file)
				d := create(t)
				start(t, d, script)
				ok(t, d.Kill())
				empty(t, d)
				ok(t, d.Kill())
				if b, err := d.read("cgroup.freeze"); string(b) != "0\n" || err != nil {
					t.Errorf("left frozen: %q, error %v", b, err)
				}
				// Where the kernel does not let a process live there, probe knows.
				if err := probe(d); err == nil {
					exits(t, start(t, d, "echo ready"), 0)
				} else {
					t.Log(err)
				}
				empty(t, d)
				ok(t, d.Remove())
				ok(t, d.Kill())
			})
		}
	}
}

func withKillFile(t *testing.T, name string) {
	before := killFile
	killFile = name
	t.Cleanup(func() { killFile = before })
}

func TestKillFrozen(t *testing.T) {
	for _, file := range []string{"cgroup.kill", "cgroup.not"} {
		t.Run(file, func(t *testing.T) {
			withKillFile(t, file)
			d := create(t)
			frozen(t, d)
			ok(t, d.Kill())
			empty(t, d)
			ok(t, d.Remove())
		})
	}
}
