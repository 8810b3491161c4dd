//go:build linux || darwin || freebsd || windows

package main

import (
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/corral-run/corral/internal/proctree"
)

// newCompletion replaces cobra's own command, which is one command per shell, and
// succeeds with a page of text when it is asked for another shell.
func newCompletion() *cobra.Command {
	shells := map[string]func(*cobra.Command, io.Writer) error{
		"bash":       func(c *cobra.Command, w io.Writer) error { return c.GenBashCompletionV2(w, true) },
		"fish":       func(c *cobra.Command, w io.Writer) error { return c.GenFishCompletion(w, true) },
		"powershell": (*cobra.Command).GenPowerShellCompletionWithDesc,
		"zsh":        (*cobra.Command).GenZshCompletion,
	}
	names := slices.Sorted(maps.Keys(shells))
	return &cobra.Command{
		Use:   "completion " + strings.Join(names, "|"),
		Short: "Write the completion script of a shell",
		Long: `Write a script to standard output that makes the shell complete the command
line of corral. bash needs the package bash-completion for it.`,
		Example: `  source <(corral completion bash)
  corral completion bash > /etc/bash_completion.d/corral
  corral completion zsh > "${fpath[1]}/_corral"
  corral completion fish > ~/.config/fish/completions/corral.fish`,
		Annotations: map[string]string{exitStatuses: `0	the script has been written
125	bad arguments, or the script cannot be written
`},
		DisableFlagsInUseLine: true,
		ValidArgs:             names,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 || shells[args[0]] == nil {
				return fmt.Errorf("completion needs one of %s", strings.Join(names, ", "))
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			if err := shells[args[0]](c.Root(), c.OutOrStdout()); err != nil {
				return &exitError{statusOwn, err}
			}
			return nil
		},
	}
}

// complete tells the shells' completions the values of a flag, nil for none. They
// are asked for when a shell wants them, and a run does not make them.
func complete(c *cobra.Command, flag string, values func() []string) {
	offer := completeNothing // one for all flags: each run makes them
	if values != nil {
		offer = func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return values(), cobra.ShellCompDirectiveNoFileComp
		}
	}
	if err := c.RegisterFlagCompletionFunc(flag, offer); err != nil {
		panic(err) // the flag has another name: a mistake in this package
	}
}

func completeNothing(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	return nil, cobra.ShellCompDirectiveNoFileComp
}

func words(list ...string) func() []string { return func() []string { return list } }

// completePIDs offers the running processes to the shells' completions.
func completePIDs(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	table, _ := proctree.Snapshot() // nothing to offer is no reason to fail
	var pids []string
	for _, p := range table {
		if p.PID > 1 && p.PID != os.Getpid() {
			pids = append(pids, fmt.Sprintf("%d\t%s", p.PID, shorten(title(p), 60)))
		}
	}
	return pids, cobra.ShellCompDirectiveNoFileComp
}

// completeFiles leaves it to the shell to offer files, as for any command.
func completeFiles(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	return nil, cobra.ShellCompDirectiveDefault
}
