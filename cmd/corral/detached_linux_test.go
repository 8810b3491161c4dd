package main

import (
	"bytes"
	"os"
	"os/exec"
	"testing"
)

// TestFullDisk: the status of a run in the background is recorded, also if the disk has
// become full since it began.
func TestFullDisk(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED: needs root, to mount")
	}
	const script = `
		mount -t tmpfs -o size=64k,mode=700 none "$XDG_STATE_HOME" && mkfifo go || exit 99
		corral run --detach --name full -- sh -c 'read word <go; exit 7' >/dev/null || exit 98
		! cat /dev/zero 2>/dev/null >"$XDG_STATE_HOME/fill" || exit 97
		echo on >go
		corral wait full`
	state := t.TempDir()
	cmd := exec.Command("unshare", "-m", "sh", "-c", script)
	var out bytes.Buffer
	cmd.Env, cmd.Dir = append(os.Environ(), "XDG_STATE_HOME="+state), t.TempDir()
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Skip("SKIPPED: no unshare: ", err)
	}
	if _, status := ended(cmd); status != 7 || out.Len() > 0 {
		t.Errorf("status %d, said %s", status, &out)
	}
}
