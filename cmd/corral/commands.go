//go:build linux || darwin || freebsd || windows

package main

import (
	"slices"

	"github.com/spf13/cobra"

	"github.com/corral-run/corral"
)

// subcommand is a command below the root.
type subcommand struct {
	name string
	runs bool // a command, so that time counts
	make func() *cobra.Command
}

func subcommands() []subcommand {
	return []subcommand{
		{name: "run", runs: true, make: func() *cobra.Command {
			c := newRun("run [flags] [--] COMMAND [ARG...]", nil)
			c.Short = "Run a command, whatever it is called"
			return c
		}},
		{name: timeoutName, runs: true, make: func() *cobra.Command { return newTimeout(corral.Auto) }},
		{name: "init", runs: true, make: newInit},
		{name: "detach", runs: true, make: newDetach},
		{name: "ps", make: newPS},
		{name: "top", make: newTop},
		{name: "inspect", make: newInspect},
		{name: "stop", make: newStop},
		{name: "signal", make: newSignal},
		{name: "wait", make: newWait},
		{name: "logs", make: newLogs},
		{name: "prune", make: newPrune},
		{name: "kill", make: newKill},
		{name: "tree", make: newTree},
		{name: "doctor", make: newDoctor},
		{name: "report", make: newReport},
		{name: "completion", make: newCompletion},
		{name: "man", make: newMan},
		{name: "version", make: newVersion},
	}
}

// newRoot returns corral's whole command line.
func newRoot() *cobra.Command {
	root := bareRoot()
	addCommands(root)
	return root
}

// rootFor returns as much of newRoot's command line as args can be about. All of it
// takes a while to make, and a run is short: it gets the commands that are named by
// any word. What tells of the others, as help does, adds them.
func rootFor(args []string) *cobra.Command {
	root := bareRoot()
	all := subcommands()
	for _, word := range args {
		i := slices.IndexFunc(all, func(s subcommand) bool { return s.name == word })
		switch {
		case i >= 0 && all[i].runs:
			addCommands(root, word)
		case i >= 0, slices.Contains([]string{"help", cobra.ShellCompRequestCmd, cobra.ShellCompNoDescRequestCmd}, word):
			addCommands(root)
			return root
		}
	}
	return root
}

// bareRoot returns the root without the commands below it.
func bareRoot() *cobra.Command {
	root := newRun("corral [run] [flags] [--] COMMAND [ARG...]", nil)
	root.Short = "Run a command and leave none of its processes behind"
	root.CompletionOptions.DisableDefaultCmd = true // there is newCompletion
	root.SetFlagErrorFunc(flagError)
	defineVersion(root, versionLine)
	asRoot(root).SetHelpCommand(newHelp())
	root.SetUsageFunc(func(c *cobra.Command) error {
		addCommands(root)
		return usage(c)
	})
	return root
}

// addCommands adds the commands of these names, or all, unless root has them.
func addCommands(root *cobra.Command, names ...string) {
	for _, s := range subcommands() {
		wanted := len(names) == 0 || slices.Contains(names, s.name)
		if wanted && !slices.ContainsFunc(root.Commands(), func(c *cobra.Command) bool { return c.Name() == s.name }) {
			root.AddCommand(s.make())
		}
	}
}
