//go:build linux

package main

import (
	"bytes"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestAgent: a server lives on across calls, its output arrives with a later one, and
// it is stopped at the end.
func TestAgent(t *testing.T) {
	dir := t.TempDir()
	exe := filepath.Join(dir, "agent")
	if out, err := exec.Command("go", "build", "-o", exe, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	agent := exec.Command(exe)
	agent.Dir = dir
	agent.Stdin = strings.NewReader(`mkfifo in out
(while read line <in; do echo request $line; echo done >out; done) & echo server is up
echo GET >in; cat out >/dev/null
exit 3
`)
	var out bytes.Buffer
	agent.Stdout, agent.Stderr = &out, &out
	if err := agent.Run(); err != nil {
		t.Fatalf("%v\n%s", err, &out)
	}
	for _, want := range []string{"server is up\n[still running: ", "request GET\n", "[exit status 3]\n", "[stopped: "} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, &out)
		}
	}
	if left, err := exec.Command("pgrep", "-f", dir).Output(); err == nil {
		t.Errorf("left: %s", left)
	}
	t.Logf("\n%s", &out)
}
