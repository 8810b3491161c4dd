package winetest

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

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
