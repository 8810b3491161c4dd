//go:build linux || darwin || freebsd || windows

package main

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// response is what corral says to args, and how it ends; or, where args are for a
// command to run, which command that is, with what flags and arguments.
func response(root *cobra.Command, args []string, init bool) string {
	var said strings.Builder
	withhold(root, &said)
	if init {
		args = initArguments(root, args)
		withhold(root, &said)
	}
	var stdout, stderr bytes.Buffer
	status := execute(root, args, &stdout, &stderr)
	return fmt.Sprintf("%d\n%s\n%s\n%s", status, &said, &stdout, &stderr)
}

// withhold has the commands below c, and c, tell with what they were called, in
// place of doing anything.
func withhold(c *cobra.Command, said *strings.Builder) {
	if c.Name() != "help" && c.Name() != "completion" && c.RunE != nil {
		c.RunE = func(c *cobra.Command, args []string) error {
			fmt.Fprintf(said, "%s %q", c.CommandPath(), args)
			c.Flags().Visit(func(f *pflag.Flag) { fmt.Fprintf(said, " --%s=%s", f.Name, f.Value) })
			return nil
		}
	}
	for _, sub := range c.Commands() {
		withhold(sub, said)
	}
}

// TestRootFor: what corral does about a command line is the same whether it has all
// of its commands, or those alone that the line names.
func TestRootFor(t *testing.T) {
	lines := slices.Concat(slices.Sorted(maps.Keys(badCommandLines)), []string{
		"__complete ", "__complete --", "__complete timeout --", "__complete run ", "__complete ki", "__completeNoDesc ", "__complete --version ",
		"__complete", "help help", "help report merge", "completion bash", "--leftovers",
	})
	words := []string{"", "help", "true", "kil", "versoin", "--", "-q", "-qt 5", "--report", "--report=x", "--version", "--version=false", "--help", "-h", "--frob", "--grace 5", "-c", "-ec", "-qc"}
	seconds := words // and two commands, as one after another is as good as the next
	for _, c := range newRoot().Commands() {
		words = append(words, c.Name())
	}
	seconds = append(seconds, "run", "kill")
	for _, first := range words {
		for _, second := range seconds {
			lines = append(lines, first+" "+second, first+" "+second+" true", "timeout "+first+" 5 "+second, first+" timeout "+second+" 5 x")
		}
	}
	for _, line := range lines {
		args := strings.Split(line, " ")
		for _, init := range []bool{false, true} {
			want := response(newRoot(), args, init)
			if got := response(rootFor(args), args, init); got != want {
				t.Errorf("%q, as PID 1: %v: -with all commands +with those that are named:\n%s", args, init, cmp.Diff(want, got))
			}
		}
	}
}

// TestParseBudget pins what it costs to understand the command line of a run. To go
// over it should be a decision: each run pays it.
func TestParseBudget(t *testing.T) {
	for line, most := range map[string]float64{
		"--containment group -- true": 125, // one of them the race detector's
		"run -t 5 true":               240, // and five here
		"timeout 5 true":              180, // and five here; with --keep, --events, and being registered
	} {
		args := strings.Fields(line)
		got := testing.AllocsPerRun(10, func() {
			if _, _, err := checkCommandLine(rootFor(args), args); err != nil {
				t.Fatal(err)
			}
		})
		t.Logf("%s: %v allocations", line, got)
		if got > most || got < most/2 {
			t.Errorf("%s: %v allocations, the budget is %v", line, got, most)
		}
	}
}
