package vet

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/tools/go/analysis/analysistest"
)

func TestAnalyzer(t *testing.T) {
	analysistest.Run(t, analysistest.TestData(), Analyzer, "uses", "plain", "quiet")
}

func TestOSExec(t *testing.T) {
	if err := Analyzer.Flags.Set("osexec", "true"); err != nil {
		t.Fatal(err)
	}
	defer Analyzer.Flags.Set("osexec", "false")
	analysistest.Run(t, analysistest.TestData(), Analyzer, "migrates")
}

// TestVettool: the go command runs the analyzer.
func TestVettool(t *testing.T) {
	dir := t.TempDir()
	tool := filepath.Join(dir, "corral-vet")
	if out, err := exec.Command("go", "build", "-o", tool, "./cmd/corral-vet").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	source, err := os.ReadFile("testdata/src/quiet/quiet.go")
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"quiet.go": string(source), "go.mod": "module quiet\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		args string
		want int // findings
	}{{"", 0}, {"-osexec", 3}} {
		cmd := exec.Command("go", append([]string{"vet", "-vettool=" + tool}, append(strings.Fields(c.args), ".")...)...)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "GOWORK=off")
		out, err := cmd.CombinedOutput()
		if got := strings.Count(string(out), "quiet.go:"); got != c.want || (err == nil) != (c.want == 0) {
			t.Errorf("go vet %s: %d findings, want %d; %v\n%s", c.args, got, c.want, err, out)
		}
	}
}
