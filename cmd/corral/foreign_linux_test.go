package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/corral-run/corral/internal/proctree"
	"github.com/corral-run/corral/internal/registry"
)

// TestForeignProcess: what the registry of another user names is stopped by root only
// if it is that user's: an entry can name any process of the machine.
func TestForeignProcess(t *testing.T) {
	const nobody = 65534
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED: only root may look at the runs of others")
	}
	path := filepath.Join(t.TempDir(), "corral")
	if err := os.Mkdir(path, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(path, nobody, nobody); err != nil {
		t.Fatal(err)
	}
	dir, err := registry.OpenDir(path, nobody, false)
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	top := &runsSource{uid: nobody}
	stopKept := func(p proctree.ID) error {
		kept := registry.Found{State: registry.Live, From: dir}
		kept.Kept = []registry.Process{{PID: p.PID, Start: p.Start}}
		o := &stopFlags{signal: signalValue{Signal: syscall.SIGTERM}, grace: duration(10 * time.Second)}
		_, err := o.stopKept(t.Context(), &knownRun{kept: &kept})
		return err
	}

	own, ended := sleeper(t, nil)
	for what, err := range map[string]error{"stop --kept": stopKept(own), "top": top.mayStop(own)} {
		if err == nil || !strings.Contains(err.Error(), "which is not user 65534's") {
			t.Errorf("%s: %v", what, err)
		}
	}
	select {
	case <-ended:
		t.Error("root's process has been stopped")
	default:
	}

	theirs, ended := sleeper(t, &syscall.Credential{Uid: nobody, Gid: nobody})
	if err := top.mayStop(theirs); err != nil {
		t.Error(err)
	}
	if err := stopKept(theirs); err != nil {
		t.Fatal(err)
	}
	<-ended
}

// sleeper is a process that ends after a minute, or with the test.
func sleeper(t *testing.T, as *syscall.Credential) (id proctree.ID, ended <-chan struct{}) {
	t.Helper()
	cmd := exec.Command("sleep", "60")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: as}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		cmd.Wait()
	}()
	t.Cleanup(func() {
		cmd.Process.Kill()
		<-done
	})
	id, err := proctree.Identify(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	return id, done
}
