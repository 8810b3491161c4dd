//go:build linux || darwin || freebsd

package corral_test

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestContainOSExecSuite runs the tests that come with the toolchain's os/exec
// against os/exec itself, in which Start calls Contain first.
func TestContainOSExecSuite(t *testing.T) {
	if testing.Short() {
		t.Skip("builds and runs another test binary")
	}
	source := filepath.Join(goroot(t), "src", "os", "exec")
	dir := t.TempDir()
	root, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	copyOSExecTests(t, source, dir)
	for name, text := range stdInternals {
		writeFile(t, filepath.Join(dir, name), []byte(text))
	}
	for _, pattern := range []string{"*.go", "testenv/*.go"} {
		names, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			writeFile(t, name, bytes.ReplaceAll(readFile(t, name), []byte(`"github.com/corral-run/corral"`), []byte(`"os/exec"`)))
		}
	}
	writeFile(t, filepath.Join(dir, "contain_test.go"), []byte(containEverything))
	mod := strings.Replace(string(readFile(t, "go.mod")), "module github.com/corral-run/corral", "module osexec", 1)
	mod += "\nrequire github.com/corral-run/corral v0.0.0\nreplace github.com/corral-run/corral => " + root + "\n"
	writeFile(t, filepath.Join(dir, "go.mod"), []byte(mod))
	writeFile(t, filepath.Join(dir, "go.sum"), readFile(t, "go.sum"))

	// The overlay takes the place of a file of the toolchain.
	const before = "\tif c.Path == \"\" && c.Err == nil && c.lookPathErr == nil {\n"
	const hook = "\tif BeforeStart != nil {\n\t\tif err := BeforeStart(c); err != nil {\n\t\t\treturn err\n\t\t}\n\t}\n"
	original := filepath.Join(source, "exec.go")
	text := readFile(t, original)
	if bytes.Count(text, []byte(before)) != 1 {
		t.Fatalf("Start of this os/exec is not known: it does not have %q", before)
	}
	text = bytes.Replace(text, []byte(before), []byte(hook+before), 1)
	text = append(text, "\nvar BeforeStart func(*Cmd) error\n"...)
	writeFile(t, filepath.Join(dir, "overlay", "exec.go.txt"), text)
	overlay, err := json.Marshal(map[string]map[string]string{"Replace": {original: filepath.Join(dir, "overlay", "exec.go.txt")}})
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, filepath.Join(dir, "overlay.json"), overlay)

	cmd := exec.Command(filepath.Join(goroot(t), "bin", "go"), "test", "-mod=mod", "-count=1", "-overlay", "overlay.json",
		"-skip", strings.Join(containDiffers, "|"), ".")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOWORK=off", "OSEXEC_GOROOT="+goroot(t))
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Logf("%s", out)
}

// containDiffers are the tests of os/exec that want something else.
var containDiffers = []string{
	// The command leaves a process that holds the pipe. It is stopped.
	"^TestWaitInterrupt$/^Exit-hang$",
}

const containEverything = `package exec_test

import (
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"github.com/corral-run/corral"
)

func init() {
	exec.BeforeStart = func(cmd *exec.Cmd) error { return corral.Contain(cmd, corral.ContainOptions{}) }
}

// TestContained: the overlay has its effect.
func TestContained(t *testing.T) {
	cmd := exec.Command("sh", "-c", "echo $$")
	out, err := cmd.Output()
	if err != nil || strings.TrimSpace(string(out)) == strconv.Itoa(cmd.Process.Pid) || cmd.Args[1] != strconv.Itoa(os.Getpid()) {
		t.Errorf("%q, %v, %q: the command is not below a runner", out, err, cmd.Args)
	}
}
`
