//go:build linux || darwin || freebsd || windows

package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

func newMan() *cobra.Command {
	return &cobra.Command{
		Use:   "man DIR",
		Short: "Write the man pages into a directory",
		Long:  `Write the man pages of corral and of all its commands into the directory DIR.`,
		Annotations: map[string]string{exitStatuses: `0	all have been written
125	bad arguments, or not all can be written
`},
		DisableFlagsInUseLine: true,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 || args[0] == "" {
				return errors.New("man needs one directory")
			}
			return nil
		},
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return nil, cobra.ShellCompDirectiveFilterDirs
		},
		RunE: func(c *cobra.Command, args []string) error {
			c.Root().Version = version()
			for _, about := range documentedCommands(c.Root()) {
				path := filepath.Join(args[0], pageName(about)+".1")
				if err := os.WriteFile(path, []byte(manPage(about)), 0o666); err != nil {
					return &exitError{statusOwn, err}
				}
			}
			return nil
		},
	}
}

// documentedCommands lists the commands that have a man page: c, and those below
// it.
func documentedCommands(c *cobra.Command) []*cobra.Command {
	list := []*cobra.Command{c}
	for _, sub := range c.Commands() {
		if sub.IsAvailableCommand() && sub.Name() != "help" {
			list = append(list, documentedCommands(sub)...)
		}
	}
	return list
}

func pageName(c *cobra.Command) string { return strings.ReplaceAll(c.CommandPath(), " ", "-") }

// manPage returns the man page of c in the language of man(7).
func manPage(c *cobra.Command) string {
	var b strings.Builder
	out := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	out(`.TH "%s" "1" "" "%s"`, strings.ToUpper(roff(pageName(c))), roff(c.Root().Name()+" "+c.Root().Version))
	out(".SH NAME\n%s \\- %s", roff(pageName(c)), roff(c.Short))
	out(".SH SYNOPSIS\n.B %s", roff(c.UseLine()))
	out(".SH DESCRIPTION")
	for i, paragraph := range strings.Split(c.Long, "\n\n") {
		if i > 0 {
			out(".PP")
		}
		out("%s", roff(paragraph))
	}
	if c.HasAvailableSubCommands() {
		out(".SH COMMANDS")
		for _, sub := range c.Commands() {
			if sub.IsAvailableCommand() {
				out(".TP\n.B %s\n%s", roff(sub.Name()), roff(sub.Short+"."))
			}
		}
	}
	out(".SH OPTIONS")
	eachFlag(c, func(f *pflag.Flag) {
		name, text := pflag.UnquoteUsage(f)
		flag := `\fB` + roff("--"+f.Name) + `\fR`
		if f.Shorthand != "" {
			flag = `\fB` + roff("-"+f.Shorthand) + `\fR, ` + flag
		}
		if name != "" {
			flag += ` \fI` + roff(name) + `\fR`
		}
		if f.DefValue != "" && f.DefValue != "false" && f.DefValue != "0" {
			text += " (default " + f.DefValue + ")"
		}
		out(".TP\n%s\n%s", flag, roff(text))
	})
	if list := c.Annotations[exitStatuses]; list != "" {
		out(".SH EXIT STATUS")
		for line := range strings.Lines(list) {
			code, meaning, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "\t")
			out(".TP\n.B %s\n%s", roff(code), roff(meaning))
		}
	}
	if c.Example != "" {
		out(".SH EXAMPLES\n.nf\n%s\n.fi", roff(c.Example))
	}
	out(".SH SEE ALSO")
	for _, other := range documentedCommands(c.Root()) {
		if other != c {
			out(".BR %s (1),", roff(pageName(other)))
		}
	}
	out(".BR timeout (1)")
	return b.String()
}

// roff returns s as text of a man page: what troff would take for a command is
// escaped, and a hyphen is one that can be copied into a shell. See groff_char(7).
func roff(s string) string {
	var b strings.Builder
	start := true // of a line, where a dot or a quote begins a request
	for _, r := range s {
		if start && (r == '.' || r == '\'') {
			b.WriteString(`\&`)
		}
		start = r == '\n'
		switch {
		case r == '\\':
			b.WriteString(`\e`)
		case r == '-':
			b.WriteString(`\-`)
		case r == '\'':
			b.WriteString(`\(aq`)
		case r == '`':
			b.WriteString(`\(ga`)
		case r == '^':
			b.WriteString(`\(ha`)
		case r == '~':
			b.WriteString(`\(ti`)
		case r == '"':
			b.WriteString(`\(dq`)
		case r > '~':
			fmt.Fprintf(&b, `\[u%04X]`, r)
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}
