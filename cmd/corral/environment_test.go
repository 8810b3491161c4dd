//go:build linux || darwin || freebsd || windows

package main

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/pflag"

	"github.com/corral-run/corral"
)

// TestVariables: docs/cli.md has a table of the variables of all flags of `corral`
// and `corral init`, and of those of `corral timeout` that have one.
func TestVariables(t *testing.T) {
	cli, err := os.ReadFile("../../docs/cli.md")
	if err != nil {
		t.Fatal(err)
	}
	const head = "| flag | variable | of `corral init` | of `corral timeout` |\n| --- | --- | --- | --- |\n"
	_, table, ok := strings.Cut(string(cli), head)
	if !ok {
		t.Fatalf("docs/cli.md has no table that begins\n%s", head)
	}
	table, _, _ = strings.Cut(table, "\n\n")
	cell := func(name string) string {
		if name == "" {
			return ""
		}
		return "`" + name + "`"
	}
	root, init, timeout := newRoot(), newInit(), newTimeout(corral.Auto)
	var want strings.Builder
	// Nothing outlives an init: the kernel ends all of its PID namespace with it.
	eachFlag(root, func(f *pflag.Flag) {
		if run := variable(runPrefix, f); slices.Contains(keepNames, f.Name) {
			of := variable(timeoutPrefix, timeout.Flags().Lookup(f.Name))
			fmt.Fprintf(&want, "| %s | %s |  | %s |\n", cell("--"+f.Name), cell(run), cell(of))
		} else if run != "" && init.Flags().Lookup(f.Name) == nil {
			t.Errorf("--%s is a flag of corral, and not of corral init", f.Name)
		}
	})
	eachFlag(init, func(f *pflag.Flag) { // it has all others of a run, and more
		of := variable(initPrefix, f)
		if of == "" {
			return
		}
		run := ""
		if flag := root.Flags().Lookup(f.Name); flag != nil {
			run = variable(runPrefix, flag)
		}
		fmt.Fprintf(&want, "| %s | %s | %s |  |\n", cell("--"+f.Name), cell(run), cell(of))
	})
	eachFlag(timeout, func(f *pflag.Flag) {
		if variable(timeoutPrefix, f) != "" && !slices.Contains(keepNames, f.Name) {
			t.Errorf("corral timeout: a variable of --%s", f.Name)
		}
	})
	if diff := cmp.Diff(want.String(), table+"\n"); diff != "" {
		t.Errorf("the table in docs/cli.md: -the flags +the table:\n%s\nIt should be:\n%s", diff, head+want.String())
	}
}

// TestTakeEnvironment: a variable does what its flag does, for every flag.
func TestTakeEnvironment(t *testing.T) {
	values := map[string]string{"DURATION": "7s", "SIGNAL": "INT", "POLICY": "fail", "MECHANISM": "group", "LIFELINE": "parent,pid:7",
		"SIZE": "64K", "FILE": "report.json", "SHELL": "bash", "bool": "1", "PLAN": "stdin:5s,INT:2s", "NUMBER": "7", "GLOB": "tmux,daemons", "STATUSES": "7", "SIG:SIG": "INT:TERM",
		"NAME": "web", "KEY=VALUE": "team=a", "WHEN": "never"}
	options := containmentNames()
	for prefix, c := range map[string]interface{ Flags() *pflag.FlagSet }{runPrefix: bareRoot(), initPrefix: newInit()} {
		count := 0
		c.Flags().VisitAll(func(f *pflag.Flag) {
			name := variable(prefix, f)
			if name == "" {
				return
			}
			count++
			value := values[f.Value.Type()]
			if f.Name == "containment" {
				value = options[len(options)-1] // one that there is here
			}
			if value == "" {
				t.Errorf("%s: this test needs a value of the type %s", name, f.Value.Type())
				return
			}
			t.Run(name, func(t *testing.T) {
				t.Setenv(name, value)
				byFlag, byVariable := newInit().Flags(), newInit().Flags()
				if prefix == runPrefix {
					byFlag, byVariable = bareRoot().Flags(), bareRoot().Flags()
				}
				if err := byFlag.Set(f.Name, value); err != nil {
					t.Fatalf("--%s=%s: %v", f.Name, value, err)
				}
				present, err := takeEnvironment(byVariable, prefix)
				if err != nil || len(present) != 1 || present[0] != name {
					t.Errorf("present: %q, %v", present, err)
				}
				got, want := byVariable.Lookup(f.Name), byFlag.Lookup(f.Name)
				if diff := cmp.Diff(fmt.Sprint(want.Value, want.Changed), fmt.Sprint(got.Value, got.Changed)); diff != "" {
					t.Errorf("-flag +variable:\n%s", diff)
				}
				if env := strings.Join(withoutVariables(present), "\n"); strings.Contains(env, name+"=") || !strings.Contains(env, "PATH=") {
					t.Errorf("the command's environment:\n%s", env)
				}
			})
		})
		if count < 10 {
			t.Errorf("%s...: %d variables", prefix, count)
		}
	}
}

// containmentNames are the containments that can be wanted here.
func containmentNames() []string {
	return (&choice[corral.Containment]{options: containmentOptions(true)}).names()
}

// TestNoVariables: without any, the command has the environment as it is, and no
// copy is made of it.
func TestNoVariables(t *testing.T) {
	present, err := takeEnvironment(bareRoot().Flags(), runPrefix)
	if err != nil || present != nil || withoutVariables(present) != nil {
		t.Errorf("%q, %v", present, err)
	}
}
