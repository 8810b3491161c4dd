package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/corral-run/corral"
	"github.com/corral-run/corral/internal/cgroup"
	"github.com/corral-run/corral/internal/delegated"
	"github.com/corral-run/corral/internal/escape"
)

func init() {
	escape.Register("glutton", func([]string) {
		food := make([]byte, 96<<20)
		for i := 0; i < len(food); i += 4096 {
			food[i] = 1
		}
	})
}

// testScopes makes control groups as systemd-run --scope -p Delegate=yes does: in a slice, which
// is not delegated.
type testScopes struct {
	*testing.T
	slice *cgroup.Dir
	made  int
}

func newScopes(t *testing.T) *testScopes {
	unit := delegated.Here(t)
	slice, err := cgroup.Create(filepath.Join(unit, "test.slice"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), lifetime)
		defer cancel()
		if err := slice.AwaitEmpty(ctx); err != nil { // a guard ends after corral
			t.Error(err)
		}
		if err := slice.Remove(); err != nil {
			t.Error(err)
		}
		slice.Close()
	})
	for _, dir := range []string{unit, slice.Path()} {
		for _, name := range []string{"cpu", "io", "memory", "pids"} {
			os.WriteFile(filepath.Join(dir, "cgroup.subtree_control"), []byte("+"+name), 0)
		}
	}
	return &testScopes{T: t, slice: slice}
}

// new returns a scope, to be closed.
func (s *testScopes) new() *cgroup.Dir {
	s.Helper()
	s.made++
	scope, err := cgroup.Create(filepath.Join(s.slice.Path(), fmt.Sprintf("run-%d.scope", s.made)))
	if err == nil {
		err = scope.MarkDelegated()
	}
	if err != nil {
		s.Fatal(err)
	}
	return scope
}

// in has a command start in the scope.
func in(scope *cgroup.Dir, cmd *exec.Cmd) *exec.Cmd {
	cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: scope.FD()}
	return cmd
}

// run runs corral in the scope, or in one of its own if that is nil.
func (s *testScopes) run(scope *cgroup.Dir, args ...string) (status int, stderr string, r corral.Report) {
	s.Helper()
	if scope == nil {
		scope = s.new()
		defer scope.Close()
	}
	report := filepath.Join(s.TempDir(), "report.json")
	cmd := in(scope, exec.Command("corral", append([]string{"--report", report}, args...)...))
	var said bytes.Buffer
	cmd.Stderr = &said
	if err := cmd.Start(); err != nil {
		s.Fatal(err)
	}
	_, status = ended(cmd)
	if b, err := os.ReadFile(report); err == nil && len(b) > 0 {
		if err := json.Unmarshal(b, &r); err != nil {
			s.Fatal(err)
		}
	}
	return status, said.String(), r
}

// TestLimitsInScope: corral that systemd-run has started in a delegated scope can limit
// its run, as it moves out of the way; and does not if somebody else is there.
func TestLimitsInScope(t *testing.T) {
	s := newScopes(t)
	run := func(args ...string) (int, string, corral.Report) { return s.run(nil, args...) }

	scope := s.new()
	defer scope.Close()
	other := in(scope, exec.Command("sleep", "60"))
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { other.Process.Kill(); other.Wait() })
	status, stderr, _ := s.run(scope, "--memory", "1G", "--", "true")
	if status != statusOwn || !strings.Contains(stderr, "memory cannot be limited") || strings.Count(stderr, "\n") != 1 {
		t.Errorf("beside another process: status %d, %s", status, stderr)
	}
	other.Process.Kill()
	other.Wait()

	path, args := escape.Command("glutton")
	status, stderr, r := run(append([]string{"--memory", "32M", "--pids", "50", "--cpus", "4", "--core", "0", "--", path}, args...)...)
	if status != statusSignal+int(syscall.SIGKILL) || !strings.HasPrefix(stderr, "corral: out of memory: the run has reached its limit of 33554432 bytes") {
		t.Errorf("out of memory: status %d, %s", status, stderr)
	}
	if r.Ending != corral.OutOfMemory || r.Usage == nil || r.Usage.Run.PeakMemory == nil || *r.Usage.Run.PeakMemory > 33<<20 {
		t.Errorf("report: %+v", r)
	}
	nested := append([]string{"--memory", "300M", "--", "corral", "-q", "--memory", "32M", "--", path}, args...)
	status, stderr, r = run(nested...)
	if status != statusSignal+int(syscall.SIGKILL) || stderr != "" || r.Ending != corral.Exited || r.ExitCode != status {
		t.Errorf("a run in a run is out of memory: status %d, %s%+v", status, stderr, r)
	}
	status, stderr, r = run("--memory", "1G", "--", "sh", "-c", "exit 3")
	if status != 3 || stderr != "" || r.Ending != corral.Exited || r.Usage.Run.PeakMemory == nil {
		t.Errorf("status %d, %s%+v", status, stderr, r)
	}
}
