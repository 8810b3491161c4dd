//go:build linux || darwin || freebsd || windows

package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// exitStatuses is the key of the annotation that lists a command's exit
// statuses for its help and its man page: lines of "status TAB meaning".
const exitStatuses = "exit statuses"

// newHelp replaces cobra's own help command, which succeeds with a page of text
// when it is asked for a command that does not exist.
func newHelp() *cobra.Command {
	return &cobra.Command{
		Use:   "help [COMMAND]",
		Short: "Explain a command",
		Args:  cobra.ArbitraryArgs,
		ValidArgsFunction: func(c *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			var names []string
			if len(args) == 0 {
				for _, sub := range c.Root().Commands() {
					if sub.IsAvailableCommand() {
						names = append(names, sub.Name()+"\t"+sub.Short)
					}
				}
			}
			return names, cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(c *cobra.Command, args []string) error {
			about, rest, err := c.Root().Find(args)
			if err != nil || len(rest) > 0 {
				hint := ""
				if len(rest) == 1 && about == c.Root() {
					hint = commandHint(about, rest[0])
				}
				return fmt.Errorf("no command %q to explain%s", strings.Join(args, " "), hint)
			}
			about.InitDefaultHelpFlag()
			return about.Help()
		},
	}
}

// usage writes what a command's help says after its description.
func usage(c *cobra.Command) error {
	w := c.OutOrStdout()
	fmt.Fprintf(w, "Usage:\n  %s\n", c.UseLine())
	if c.HasAvailableSubCommands() {
		fmt.Fprintf(w, "\nCommands:\n")
		for _, sub := range c.Commands() {
			if sub.IsAvailableCommand() {
				fmt.Fprintf(w, "  %-12s%s\n", sub.Name(), sub.Short)
			}
		}
	}
	if c.HasAvailableFlags() {
		fmt.Fprintf(w, "\nFlags:\n%s", c.Flags().FlagUsages())
	}
	if c.HasExample() {
		fmt.Fprintf(w, "\nExamples:\n%s\n", c.Example)
	}
	if list := c.Annotations[exitStatuses]; list != "" {
		fmt.Fprintf(w, "\nExit status:\n")
		for line := range strings.Lines(list) {
			code, meaning, _ := strings.Cut(line, "\t")
			fmt.Fprintf(w, "  %-7s%s", code, meaning)
		}
	}
	return nil
}

// eachFlag calls f for every flag of c that is not hidden.
func eachFlag(c *cobra.Command, f func(*pflag.Flag)) {
	c.InitDefaultHelpFlag()
	c.InitDefaultVersionFlag()
	c.Flags().VisitAll(func(flag *pflag.Flag) {
		if !flag.Hidden {
			f(flag)
		}
	})
}
