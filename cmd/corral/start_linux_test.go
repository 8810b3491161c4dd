package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// A program whose loader is missing is not said to be missing itself: what is built
// for another C library is such a one.
func TestMissingLoader(t *testing.T) {
	program, err := exec.LookPath("true")
	if err != nil {
		t.Skip("SKIPPED: there is no true:", err)
	}
	b, err := os.ReadFile(program)
	if err != nil {
		t.Fatal(err)
	}
	loader, role := runnerOf(program)
	if loader == "" || role != "loader" {
		t.Skipf("SKIPPED: %s has no loader", program)
	}
	gone := loader[:len(loader)-3] + "~~~"
	path := filepath.Join(t.TempDir(), "program")
	if err := os.WriteFile(path, bytes.ReplaceAll(b, []byte(loader+"\x00"), []byte(gone+"\x00")), 0o755); err != nil {
		t.Fatal(err)
	}
	for want, args := range map[string][]string{
		"corral: " + path + ": its loader " + gone + ": no such file or directory\n":                          {"corral", path},
		"timeout: failed to run command '" + path + "': its loader " + gone + ": no such file or directory\n": {"corral", "timeout", "5", path},
	} {
		cmd := exec.Command(args[0], args[1:]...)
		var stderr strings.Builder
		cmd.Stderr = &stderr
		cmd.Run()
		if got := cmd.ProcessState.ExitCode(); got != 127 || stderr.String() != want {
			t.Errorf("%q: status %d, %q; want 127, %q", args, got, stderr.String(), want)
		}
	}
}

// detector is what the race detector says without /proc.
var detector = regexp.MustCompile(`(?m)^==\d+==WARNING: .*\n`)

// Without /proc, each command says in one line that it is that, and by no name that
// only this repository knows.
func TestWithoutProc(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED: only root may unmount /proc")
	}
	for line, status := range map[string]int{
		"doctor":                   125,
		"doctor --json":            125,
		"true":                     125,
		"timeout 5 true":           125,
		"init true":                125,
		"tree":                     1,
		"kill 2147483647":          1,
		"--lifeline pid:2 true":    125,
		"--containment group true": 125,
	} {
		t.Run(line, func(t *testing.T) {
			script := `umount -l /proc || exit 99; while umount -l /proc 2>/dev/null; do :; done; "$@"; exit $?` // not as PID 1
			args := append([]string{"--pid", "--fork", "--mount", "--kill-child", "sh", "-c", script, "sh", "corral"}, strings.Fields(line)...)
			cmd := exec.Command("unshare", args...)
			var stdout, stderr strings.Builder
			cmd.Stdout, cmd.Stderr = &stdout, &stderr
			cmd.Run()
			said := detector.ReplaceAllString(stderr.String(), "")
			if cmd.ProcessState.ExitCode() == 99 {
				t.Skip("SKIPPED: /proc cannot be unmounted here: ", said)
			}
			if got := cmd.ProcessState.ExitCode(); got != status || stdout.Len() > 0 || strings.Count(said, "\n") != 1 ||
				!strings.Contains(said, "/proc is not mounted") || strings.Contains(said, "proctree") {
				t.Errorf("status %d, stdout %q, stderr %q; want status %d and a line about /proc", got, stdout.String(), said, status)
			}
		})
	}
}

// TestNoNullDevice: a run needs none, if the standard streams are there.
func TestNoNullDevice(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED: needs root, to mount")
	}
	for how, want := range map[string]int{
		"--containment group --": 7, "--containment group --output-limit 1K --": 7, "init --containment group --": 7,
		"--pty --": statusOwn, // in words: there is no /dev/ptmx
	} {
		args := append([]string{"-m", "sh", "-c", `mount -t tmpfs none /dev && exec "$@"`, "sh", "corral"}, strings.Fields(how)...)
		cmd := exec.Command("unshare", append(args, "sh", "-c", "test ! -e /dev/null && exit 7")...)
		var out bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &out
		if err := cmd.Start(); err != nil {
			t.Skip("SKIPPED: no unshare: ", err)
		}
		if _, status := ended(cmd); status != want || strings.Count(out.String(), "\n") > 1 {
			t.Errorf("%s: status %d, said %s", how, status, &out)
		}
	}
}
