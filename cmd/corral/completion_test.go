//go:build linux || darwin || freebsd || windows

package main

import (
	"bytes"
	"os/exec"
	"runtime"
	"strings"
	"testing"
)

// completions asks for completions as the shells' scripts do.
func completions(t *testing.T, words ...string) string {
	t.Helper()
	var stdout, stderr bytes.Buffer
	if status := run(append([]string{"__complete"}, words...), &stdout, &stderr); status != 0 {
		t.Fatalf("completing %q: status %d, %s", words, status, stderr.String())
	}
	return stdout.String()
}

func TestCompletions(t *testing.T) {
	var stay []string
	if runtime.GOOS == "windows" {
		stay = []string{"-stay"}
	}
	other := exec.Command("child", stay...) // there may be no other process than this one
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		other.Process.Kill()
		other.Wait()
	}()
	for _, tt := range []struct {
		words     []string
		want, not string
	}{
		{[]string{""}, "tree\t", "__complete"},
		{[]string{"--"}, "--leftovers", "`"},
		{[]string{"init", "--"}, "--rewrite", "`"},
		{[]string{"kill", "--"}, "--grace", "`"},
		{[]string{"timeout", "--"}, "--kill-after", "`"},
		{[]string{"--leftovers", ""}, "keep", "group"},
		{[]string{"run", "--leftovers", ""}, "fail", "group"},
		{[]string{"--containment", ""}, "auto", "keep\n"},
		{[]string{"--require", ""}, "keeper", "auto"},
		{[]string{"--signal", ""}, "TERM", "keep"},
		{[]string{"-s", ""}, "TERM", "keep"},
		{[]string{"completion", ""}, "fish", "\n:0"},
		{[]string{"kill", "--signal", ""}, "KILL", "HUP"},
		{[]string{"timeout", "--signal", ""}, "HUP", "keep"},
		{[]string{"timeout", "5", "ls", "--"}, "\n:0", "--signal"},
		{[]string{"tree", "1", ""}, "\t", "\n:0"}, // it takes several
		{[]string{"doctor", ""}, "\n:4", "\t"},
		// After the command come its own arguments.
		{[]string{"--timeout", "5s", "ls", "--"}, "\n:0", "--leftovers"},
		{[]string{"--timeout", "5s", "ls", "ki"}, "\n:0", "kill"},
		{[]string{"run", ""}, "\n:0", "tree"},
		{[]string{"report", ""}, "merge\t", "tree"},
		{[]string{"report", "merge", ""}, "\n:0", "tree"},
	} {
		got := "\n" + completions(t, tt.words...)
		if !strings.Contains(got, tt.want) || strings.Contains(got, tt.not) {
			t.Errorf("completing %q: want %q and not %q in:\n%s", tt.words, tt.want, tt.not, got)
		}
	}
}

// A completion script names the program, and is not empty.
func TestCompletionScripts(t *testing.T) {
	for _, shell := range []string{"bash", "zsh", "fish", "powershell"} {
		var stdout, stderr bytes.Buffer
		if status := run([]string{"completion", shell}, &stdout, &stderr); status != 0 || !strings.Contains(stdout.String(), "__complete") || !strings.Contains(stdout.String(), "corral") {
			t.Errorf("completion %s: status %d, %d bytes, stderr %q", shell, status, stdout.Len(), stderr.String())
		}
	}
}
