package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestWaitAsRun: who waits for a run exits with the status that its owner exits with,
// and that is recorded of a run in the background.
func TestWaitAsRun(t *testing.T) {
	f := newFleet(t)
	dir := filepath.Dir(filepath.Dir(f.state.Path()))
	program := func(args ...string) *exec.Cmd {
		cmd := exec.Command("corral", args...)
		cmd.Env, cmd.Dir = f.env, dir
		return cmd
	}
	const leave = "sleep 60 & "
	for name, c := range map[string]struct {
		flags  []string
		script string
		want   int
	}{
		"success":   {nil, "exit 0", 0},
		"failure":   {nil, "exit 3", 3},
		"signal":    {nil, "kill -KILL $$", 137},
		"realtime":  {nil, "kill -35 $$", 163},
		"leftovers": {[]string{"--leftovers", "fail"}, leave + "exit 0", 123},
		"both":      {[]string{"--leftovers", "fail"}, leave + "exit 3", 3},
		"kept":      {[]string{"--leftovers", "keep", "--output-limit", "1k"}, leave + "exit 0", 0}, // the output is held
	} {
		t.Run(name, func(t *testing.T) {
			if err := unix.Mkfifo(filepath.Join(dir, name), 0o600); err != nil {
				t.Fatal(err)
			}
			args := append([]string{"run", "--quiet", "--name", name}, c.flags...)
			owner := program(append(args, "--", "sh", "-c", "read go <"+name+"; "+c.script)...)
			if err := owner.Start(); err != nil {
				t.Fatal(err)
			}
			word, err := os.OpenFile(filepath.Join(dir, name), os.O_WRONLY, 0) // the command has begun
			if err != nil {
				t.Fatal(err)
			}
			defer word.Close()
			waiter := program("wait", name)
			if err := waiter.Start(); err != nil {
				t.Fatal(err)
			}
			for deadline, waiting := time.Now().Add(lifetime/2), 0; waiting == 0; {
				var shown inspection
				if err := json.Unmarshal([]byte(f.must("inspect", "--json", name)), &shown); err != nil {
					t.Fatal(err)
				}
				if waiting = shown.Waiting; time.Now().After(deadline) {
					t.Fatal("nobody waits")
				}
			}
			word.WriteString("go\n")
			_, ran := ended(owner)
			_, waited := ended(waiter)
			if ran != c.want || waited != c.want {
				t.Errorf("run exits with %d, wait with %d; want %d", ran, waited, c.want)
			}
		})
	}
	f.corral("stop", "--kept", "--all", "--signal", "KILL")
}
