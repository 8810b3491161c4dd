package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

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

// TestLimitsInScope: corral that systemd-run has started in a delegated scope can limit
// its run, as it moves out of the way; and does not if somebody else is there.
func TestLimitsInScope(t *testing.T) {
	unit := delegated.Here(t)
	for _, name := range []string{"cpu", "io", "memory", "pids"} {
		os.WriteFile(filepath.Join(unit, "cgroup.subtree_control"), []byte("+"+name), 0)
	}
	scope, err := cgroup.Create(filepath.Join(unit, "test.scope"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.Background(), lifetime)
		defer cancel()
		if err := scope.AwaitEmpty(ctx); err != nil { // the guard ends after corral
			t.Error(err)
		}
		if err := scope.Remove(); err != nil {
			t.Error(err)
		}
		scope.Close()
	}()
	if err := scope.MarkDelegated(); err != nil {
		t.Fatal(err)
	}
	report := filepath.Join(t.TempDir(), "report.json")
	run := func(args ...string) (status int, stderr string, r corral.Report) {
		t.Helper()
		cmd := exec.Command("corral", append([]string{"--report", report}, args...)...)
		var said bytes.Buffer
		cmd.Stderr = &said
		cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: scope.FD()}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		_, status = ended(cmd)
		if b, err := os.ReadFile(report); err == nil && len(b) > 0 {
			if err := json.Unmarshal(b, &r); err != nil {
				t.Fatal(err)
			}
		}
		return status, said.String(), r
	}

	other := exec.Command("sleep", "60")
	other.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: scope.FD()}
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	status, stderr, _ := run("--memory", "1G", "--", "true")
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
	began := time.Now()
	status, stderr, r = run("--memory", "1G", "--", "sh", "-c", "exit 3")
	if status != 3 || stderr != "" || r.Ending != corral.Exited || r.Usage.Run.PeakMemory == nil {
		t.Errorf("status %d after %v, %s%+v", status, time.Since(began), stderr, r)
	}
}
