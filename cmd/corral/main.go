//go:build linux || darwin || freebsd || windows

// Command corral runs a command and sees to it that nothing is left of it
// afterwards. It also stops, gracefully, processes that are already running,
// and shows the process table as a tree.
//
// There is no process logic here: flags become fields of [corral.Cmd], the
// [corral.Report] becomes an exit status and a line.
package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/corral-run/corral"
)

// Exit statuses of corral's own, those of GNU timeout and env(1) where they
// have one.
const (
	statusStuck     = 1   // kill, tree: not all could be done
	statusLeftovers = 123 // --leftovers fail, and there were some
	statusTimeout   = 124
	statusOwn       = 125 // bad arguments, or corral itself failed
	statusCannot    = 126 // found, but not executable
	statusNotFound  = 127
	statusSignal    = 128 // plus the number of the signal
)

func main() {
	args := os.Args[1:]
	if calledTimeout(os.Args[0]) {
		os.Exit(execute(asRoot(newTimeout(corral.Auto)), args, os.Stdout, os.Stderr))
	}
	os.Exit(run(args, os.Stdout, os.Stderr))
}

// exit is an error that knows its exit status. Any other error means that the
// command line is wrong: nothing has been started, and the help is pointed to.
type exit struct {
	status int
	err    error // nil if everything has been said
}

func (e *exit) Error() string { return fmt.Sprint(e.err) }
func (e *exit) Unwrap() error { return e.err }

// run is corral with the given arguments; it returns the exit status. The
// commands that corral runs have the standard files of the process.
func run(args []string, stdout, stderr io.Writer) int {
	root := newRoot()
	if os.Getpid() == 1 {
		args = asInit(root, args)
	}
	return execute(root, args, stdout, stderr)
}

func execute(root *cobra.Command, args []string, stdout, stderr io.Writer) int {
	out := &sink{to: stdout}
	root.SetOut(out)
	root.SetErr(stderr)
	cmd, args, err := checkWords(root, args)
	root.SetArgs(append([]string{}, args...)) // nil would mean the process's own
	if err == nil {
		cmd, err = root.ExecuteC()
	}
	if out.err != nil {
		err = &exit{cmp.Or(statusOf(err), statusOwn), out.err} // what cobra's help, for one, does not tell
	}
	name := "corral"
	if cmd.Name() == timeoutName {
		name = timeoutName
	}
	var e *exit
	switch {
	case err == nil:
		return 0
	case !errors.As(err, &e):
		sayAs(name, stderr, "%v; see '%s --help'", err, cmd.CommandPath())
		return statusOwn
	case e.err != nil:
		sayAs(name, stderr, "%v", e.err)
	}
	return e.status
}

func say(w io.Writer, format string, args ...any) { sayAs("corral", w, format, args...) }

// statusOf is the status of an error that has one, else 0.
func statusOf(err error) int {
	var e *exit
	if errors.As(err, &e) {
		return e.status
	}
	return 0
}

// sink keeps the first error of writing to a file: many do not look at it.
type sink struct {
	to  io.Writer
	err error
}

func (s *sink) Write(b []byte) (int, error) {
	n, err := s.to.Write(b)
	if s.err == nil {
		s.err = err
	}
	return n, err
}

// fileOf is the file that w writes to, nil if it is none.
func fileOf(w io.Writer) *os.File {
	if s, ok := w.(*sink); ok {
		w = s.to
	}
	f, _ := w.(*os.File)
	return f
}

// sayAs writes one line. What goes into it may come from anywhere, so it is made
// printable; that it cannot be written is not worth a failure.
func sayAs(name string, w io.Writer, format string, args ...any) {
	line := strings.TrimPrefix(fmt.Sprintf(format, args...), "corral: ")
	fmt.Fprintf(w, "%s: %s\n", name, printable(line))
}

// exitStatuses is the key of the annotation that lists a command's exit
// statuses for its help and its man page: lines of "status TAB meaning".
const exitStatuses = "exit statuses"

func newRoot() *cobra.Command {
	root := newRun("corral [run] [flags] [--] COMMAND [ARG...]", nil)
	root.Short = "Run a command and leave nothing of it behind"
	root.Version = version()
	root.SetVersionTemplate(versionLine())
	root.SetFlagErrorFunc(flagError)
	asRoot(root).SetHelpCommand(newHelp())
	run := newRun("run [flags] [--] COMMAND [ARG...]", nil)
	run.Short = "Run a command, whatever it is called"
	root.AddCommand(run, newTimeout(corral.Auto), newInit(), newKill(), newTree(), newDoctor(), newReport(), newCompletion(), newMan(), newVersion())
	return root
}

// asRoot makes c say things the way that this package does.
func asRoot(c *cobra.Command) *cobra.Command {
	c.SilenceErrors = true
	c.SilenceUsage = true
	c.SetUsageFunc(usage)
	return c
}

func version() string {
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "(devel)"
}

// versionLine is all that a program knows of its own making.
func versionLine() string {
	about := []string{runtime.Version(), runtime.GOOS + "/" + runtime.GOARCH}
	if info, ok := debug.ReadBuildInfo(); ok {
		settings := make(map[string]string)
		for _, s := range info.Settings {
			settings[s.Key] = s.Value
		}
		if revision := settings["vcs.revision"]; revision != "" {
			if settings["vcs.modified"] == "true" {
				revision += " with changes"
			}
			about = append([]string{"revision " + revision}, about...)
		}
	}
	return fmt.Sprintf("corral %s (%s)\n", version(), strings.Join(about, ", "))
}

func newVersion() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Say which corral this is",
		Long: `Say which version of corral this is, which revision it was made of, as far as that
is known, with which Go, and for which system; the same as corral --version.`,
		Annotations: map[string]string{exitStatuses: `0	it has been said
125	bad arguments, or it cannot be written
`},
		DisableFlagsInUseLine: true,
		Args:                  noArguments,
		ValidArgsFunction:     cobra.NoFileCompletions,
		RunE: func(c *cobra.Command, _ []string) error {
			fmt.Fprint(c.OutOrStdout(), versionLine())
			return nil
		},
	}
}

// noArguments is cobra.NoArgs, which takes an argument for an unknown command.
func noArguments(c *cobra.Command, args []string) error {
	if len(args) > 0 {
		return fmt.Errorf("%s takes no arguments, and there is %q", c.Name(), args[0])
	}
	return nil
}

// newHelp replaces cobra's own help command, which succeeds with a page of
// text when asked for a command that there is not.
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

// newCompletion replaces cobra's own command, which is one command per shell
// and succeeds with a page of text when asked for another shell.
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
				return &exit{statusOwn, err}
			}
			return nil
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

// complete makes a flag's values known to the shells' completions.
func complete(c *cobra.Command, flag string, values ...string) {
	err := c.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp))
	if err != nil {
		panic(err) // the flag has another name: a mistake in this package
	}
}

// visible calls f for every flag that a reader is to know of.
func visible(c *cobra.Command, f func(*pflag.Flag)) {
	c.InitDefaultHelpFlag()
	c.InitDefaultVersionFlag()
	c.Flags().VisitAll(func(flag *pflag.Flag) {
		if !flag.Hidden {
			f(flag)
		}
	})
}
