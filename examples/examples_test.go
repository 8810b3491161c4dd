package examples

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestExamples: each example is in the table of README.md, says what it is for, and
// has a test.
func TestExamples(t *testing.T) {
	table, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, e := range entries {
		files, _ := filepath.Glob(filepath.Join(e.Name(), "*.go"))
		if len(files) == 0 {
			continue
		}
		found++
		if !strings.Contains(string(table), "\n| ["+e.Name()+"]("+e.Name()+") |") {
			t.Errorf("README.md does not have %s", e.Name())
		}
		if tests, _ := filepath.Glob(filepath.Join(e.Name(), "*_test.go")); len(tests) == 0 {
			t.Errorf("%s has no test", e.Name())
		}
	}
	if rows := strings.Count(string(table), "\n| ["); rows != found {
		t.Errorf("README.md has %d examples, there are %d", rows, found)
	}
}
