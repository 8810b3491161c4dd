package main

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestRedactedEverywhere: with --redact, no argument of a run's processes is in
// anything that corral says, shows or writes, whatever else it is asked for.
func TestRedactedEverywhere(t *testing.T) {
	const secret = "swordfish"
	f := newFleet(t)
	dir := filepath.Dir(filepath.Dir(f.state.Path()))
	told := make(map[string]string)
	see := func(name string, args ...string) {
		cmd := exec.Command("corral", args...)
		cmd.Env, cmd.Dir = f.env, dir
		out, err := cmd.CombinedOutput()
		if told[name] = string(out); err != nil && cmd.ProcessState.ExitCode() != 5 {
			t.Errorf("%s: %v: %s", name, err, out)
		}
	}
	// What it leaves has the secret among its arguments, too.
	const script = `sh -c 'sleep 50; : '$1 & read go <fifo; exit 5`
	if out, err := exec.Command("mkfifo", filepath.Join(dir, "fifo")).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	see("detach", "run", "--detach", "--redact", "-v", "--name", "r", "--report", "report", "--events", "events", "--", "sh", "-c", script, "sh", secret)
	eventually(t, func() error { // what it leaves is there
		see("members", "inspect", "--json", "r")
		var shown inspection
		if err := json.Unmarshal([]byte(told["members"]), &shown); err != nil || len(shown.Members) != 3 {
			return fmt.Errorf("%d members, %v", len(shown.Members), err)
		}
		return nil
	})
	see("ps", "ps")
	see("ps --json", "ps", "--json")
	see("inspect", "inspect", "r")
	see("inspect --json", "inspect", "--json", "r")
	see("top", "top", "r")
	if err := os.WriteFile(filepath.Join(dir, "fifo"), []byte("go\n"), 0); err != nil {
		t.Fatal(err)
	}
	see("wait", "wait", "r")
	see("logs", "logs", "r")
	see("ps --all", "ps", "--all")
	see("report merge", "report", "merge", "report")

	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		b, err := os.ReadFile(path)
		told[path] = string(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range told {
		if strings.Contains(text, secret) {
			t.Errorf("%s: %s", name, text)
		}
	}
	for name, want := range map[string]string{
		"inspect": "sh [redacted]", "logs": "stopped 2 leftover processes: sh (pid ", filepath.Join(dir, "events"): `"event":"leftover"`,
		filepath.Join(dir, "report"): `"leftovers": [`,
	} {
		if !strings.Contains(told[name], want) {
			t.Errorf("%s has no %q: %s", name, want, told[name])
		}
	}
}
