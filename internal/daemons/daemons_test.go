package daemons

import (
	"maps"
	"os"
	"regexp"
	"strings"
	"testing"
)

// TestListed: docs/keep.md lists the well-known programs, and those of them that count
// in the background only.
func TestListed(t *testing.T) {
	text, err := os.ReadFile("../../docs/keep.md")
	if err != nil {
		t.Fatal(err)
	}
	const head = "| executable | what it is |\n| --- | --- |\n"
	_, table, ok := strings.Cut(string(text), head)
	if !ok {
		t.Fatalf("docs/keep.md has no table that begins\n%s", head)
	}
	table, _, _ = strings.Cut(table, "\n\n")
	name := regexp.MustCompile("`(…/)?([^`]+)`")
	listed, known := map[string]bool{}, map[string]bool{}
	for row := range strings.Lines(table + "\n") {
		programs := strings.Split(row, "|")[1]
		for _, m := range name.FindAllStringSubmatch(programs, -1) {
			listed[m[2]] = strings.Contains(programs, "in the background")
		}
	}
	for _, d := range Known {
		for _, program := range d.Programs {
			known[program] = d.Away
		}
	}
	if !maps.Equal(listed, known) {
		t.Errorf("listed %v, known %v", listed, known)
	}
}
