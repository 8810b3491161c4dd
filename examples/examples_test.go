package examples

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestExamples: the table of README.md names each example, and each one it names is
// there and has a test.
func TestExamples(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	has := func(dir, pattern string) bool {
		files, _ := filepath.Glob(filepath.Join(dir, pattern))
		return len(files) > 0
	}
	named := map[string]bool{}
	for _, row := range regexp.MustCompile(`(?m)^\| \[.*?\]\((.*?)\) \|`).FindAllStringSubmatch(string(readme), -1) {
		dir, tests := row[1], row[1]
		if strings.HasPrefix(dir, "../") {
			tests = filepath.Dir(dir) // those of the module that it is in
		}
		named[dir] = true
		if !has(dir, "*.go") {
			t.Errorf("README.md has %s, which has no program", dir)
		} else if !has(tests, "*_test.go") {
			t.Errorf("%s has no test", dir)
		}
	}
	if len(named) == 0 {
		t.Error("README.md has no table of examples")
	}
	for _, e := range entries {
		if has(e.Name(), "*.go") && !named[e.Name()] {
			t.Errorf("README.md does not have %s", e.Name())
		}
	}
}
