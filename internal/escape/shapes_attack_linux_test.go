package escape

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/corral-run/corral/internal/proctree"
	"golang.org/x/sys/unix"
)

func init() {
	for name, role := range attackers {
		check(name, func(tr *tree) {
			tr.sendPolite(role)
			tr.sendPolite("ignorer")
			tr.leave(role, "ignorer")
		})
	}
}

var attackers = map[string]string{
	"stop-helper": "stopper", "trace-helper": "debugger", "starve-helper": "starver", "forge": "forger", "hold-line": "robber",
}

// fakeKeeper starts a process that looks like a keeper and starts p's leader. Its
// standard input is a socket, of which the test has the other end.
func fakeKeeper(t *testing.T, p *Probe) (keeper *exec.Cmd, line *os.File) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	line, theirs := os.NewFile(uintptr(fds[0]), "line"), os.NewFile(uintptr(fds[1]), "line")
	defer theirs.Close()
	t.Cleanup(func() { line.Close() })
	path, args, files := p.Command()
	path, args = Command("test-owner", append([]string{path}, args...)...)
	keeper = exec.Command(path, args...)
	keeper.Args[0] = "corral-keeper"
	keeper.Stdin, keeper.Stderr, keeper.ExtraFiles = theirs, os.Stderr, files
	if err := keeper.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		keeper.Process.Kill()
		keeper.Wait()
	})
	p.Started()
	return keeper, line
}

// TestAttacks: they do what they say to a process that does not defend itself.
func TestAttacks(t *testing.T) {
	limits := func(pid, resource int) (got unix.Rlimit) {
		if err := unix.Prlimit(pid, resource, nil, &got); err != nil {
			t.Error(err)
		}
		return got
	}
	for name, check := range map[string]func(*testing.T, *exec.Cmd, *os.File){
		"stop-helper": func(t *testing.T, keeper *exec.Cmd, _ *os.File) {
			for {
				row, err := proctree.Lookup(keeper.Process.Pid)
				if err != nil || row.State == proctree.Stopped {
					return
				}
				if t.Context().Err() != nil {
					t.Fatal("it does not stop")
				}
				time.Sleep(time.Millisecond)
			}
		},
		"trace-helper": func(t *testing.T, keeper *exec.Cmd, _ *os.File) {
			status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", keeper.Process.Pid))
			if err != nil || strings.Contains(string(status), "TracerPid:\t0\n") {
				t.Errorf("not traced: %v", err)
			}
		},
		"starve-helper": func(t *testing.T, keeper *exec.Cmd, _ *os.File) {
			for _, resource := range []int{unix.RLIMIT_NOFILE, unix.RLIMIT_NPROC} {
				if got := limits(keeper.Process.Pid, resource); got.Cur != 0 {
					t.Errorf("limit %d is %d", resource, got.Cur)
				}
			}
		},
		"forge": func(t *testing.T, _ *exec.Cmd, line *os.File) {
			got := make([]byte, len(forgedEvents))
			if _, err := line.Read(got); err != nil || !bytes.Equal(got, forgedEvents) {
				t.Errorf("the owner gets %v, %v", got, err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := NewProbe(t, find(t, name))
			keeper, line := fakeKeeper(t, p)
			p.Ready(timeout(t, 30*time.Second))
			check(t, keeper, line)
			// First: a tracee cannot be waited for before its tracer has ended.
			p.kill()
		})
	}
}

// TestKillHelper: no parent is killed but one that looks like a keeper, and that
// the test has started.
func TestKillHelper(t *testing.T) {
	p := NewProbe(t, KillHelper())
	keeper, _ := fakeKeeper(t, p)
	keeper.Wait()
	if status := keeper.ProcessState.Sys().(syscall.WaitStatus); status.Signal() != syscall.SIGKILL {
		t.Errorf("the parent: %v", keeper.ProcessState)
	}
	if err := p.Gone(timeout(t, 30*time.Second), "leader", "ignorer"); err != nil {
		t.Error(err)
	}
	p = NewProbe(t, KillHelper())
	tr := launch(t, p)
	p.Started()
	tr.ready = tr.Ready(tr.ctx)
	tr.leave("ignorer") // this process lives
}
