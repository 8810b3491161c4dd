package winetest

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/windows"
)

// TestLives: the system's processes are found by an argument, this one's too.
func TestLives(t *testing.T) {
	if !Detected() {
		t.Skip("SKIPPED: this is about Wine")
	}
	const word = "corral-lives-here"
	if Lives(word) {
		t.Error("nobody has this argument")
	}
	cmd := exec.Command("cmd", "/c", "pause", word)
	in, err := cmd.StdinPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	if !Lives(word) {
		t.Error("a process with this argument is not found")
	}
	in.Close()
	cmd.Process.Kill()
	cmd.Wait()
	for end := time.Now().Add(30 * time.Second); Lives(word); {
		if time.Now().After(end) {
			t.Fatal("it is dead, and still found")
		}
	}
}

// TestStart: what Wine could not start is started again, and nothing else is.
func TestStart(t *testing.T) {
	if !Detected() {
		t.Skip("SKIPPED: this is about Wine")
	}
	internal := &os.PathError{Op: "fork/exec", Path: "a.exe", Err: windows.ERROR_INTERNAL_ERROR}
	for _, tt := range []struct {
		name   string
		fails  int
		err    error
		starts int
	}{
		{"at once", 0, nil, 1},
		{"the third time", 2, internal, 3},
		{"never", 9, internal, 4},
		{"another error", 1, os.ErrNotExist, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			starts := 0
			err := Start(func() error {
				if starts++; starts <= tt.fails {
					return tt.err
				}
				return nil
			})
			if starts != tt.starts || (err == nil) != (starts > tt.fails) {
				t.Errorf("started %d times: %v", starts, err)
			}
		})
	}
}

// TestForgotten: it finds a process that only the system has, and none that Wine
// has.
func TestForgotten(t *testing.T) {
	if !Detected() {
		t.Skip("SKIPPED: this is about Wine")
	}
	if found := Forgotten(); len(found) > 0 {
		t.Errorf("there is only this process, and not %v", found)
	}
	// Wine starts a program of the system's, and has no process for it.
	script := "exec -a " + filepath.Base(os.Args[0]) + " sleep 40"
	if err := exec.Command("start", "/unix", "/bin/bash", "-c", script).Start(); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(30 * time.Second); len(Forgotten()) == 0; {
		if time.Now().After(end) {
			t.Fatal("it is not found")
		}
	}
}
