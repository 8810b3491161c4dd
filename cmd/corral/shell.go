//go:build linux || darwin || freebsd || windows

package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// shellFlags are the flags of a run that is given as a command line for a shell:
// corral as what others have for $SHELL.
type shellFlags struct {
	command bool
	program shellName // empty: defaultShell; ownShell: the user's
	options shellOptions
}

const (
	commandFlag = "command"
	shellFlag   = "shell"
	optionFlag  = "shell-option" // hidden: asCommandLine writes it

	// ownShell is the one that the environment names. A configuration file has no
	// shell that would put its value there.
	ownShell = "$SHELL"
)

func (s *shellFlags) define(c *cobra.Command) {
	flags := c.Flags()
	flags.BoolVarP(&s.command, commandFlag, "c", false, "run the first argument as sh -c does; the others are its $0, $1 and so on. Options of sh may come along, as in -ec")
	flags.Var(&s.program, shellFlag, "with -c, use this SHELL: a name, a path, or '$SHELL' for what that variable names")
	flags.Var(&s.options, optionFlag, "an option of the shell")
	if err := flags.MarkHidden(optionFlag); err != nil {
		panic(err) // the flag has another name: a mistake in this function
	}
	complete(c, shellFlag, words("sh", "bash", "zsh"))
}

// words returns the command that runs args, a command line and what it is given: a
// shell, which is then the leader of the run. Nothing else is between.
func (s *shellFlags) words(args []string) ([]string, error) {
	if err := refuseOwnScript(args[0]); err != nil {
		return nil, err
	}
	shell, err := s.find()
	if err != nil {
		return nil, err
	}
	list := append([]string{shell}, s.options...)
	list = append(list, "-c")
	if strings.HasPrefix(args[0], "-") || strings.HasPrefix(args[0], "+") {
		list = append(list, "--")
	}
	return append(list, args...), nil
}

// find returns the shell. A corral that ran itself would do so for ever.
func (s *shellFlags) find() (string, error) {
	shell, named := string(s.program), "--shell "+string(s.program)
	switch shell {
	case "":
		shell = defaultShell
	case ownShell:
		if shell = os.Getenv("SHELL"); shell == "" {
			return "", &exitError{statusOwn, errors.New("--shell $SHELL: the variable SHELL is not set")}
		}
		named += ", which is " + shell
	}
	path, err := exec.LookPath(shell)
	switch {
	case err != nil:
		status := &exitError{status: statusCannot}
		errors.As(startError(shell, err), &status)
		return "", &exitError{status.status, fmt.Errorf("no shell to run it with: %w; --shell names another one", status.err)}
	case isSelf(path) && s.program == "":
		return "", &exitError{statusOwn, fmt.Errorf("%s is corral itself, which is no shell; --shell names one, such as /bin/bash", shell)}
	case isSelf(path):
		return "", &exitError{statusOwn, fmt.Errorf("%s: that is corral itself, which is no shell; name one, such as /bin/bash", named)}
	case noDashC(path):
		return "", &exitError{statusOwn, fmt.Errorf("%s: it has no -c; write corral -- %s /c COMMAND", named, shell)}
	}
	return shell, nil
}

// isSelf reports whether path is the program that is running.
func isSelf(path string) bool {
	self, err := os.Executable()
	if err != nil {
		return false
	}
	a, err1 := os.Stat(self)
	b, err2 := os.Stat(path)
	return err1 == nil && err2 == nil && os.SameFile(a, b)
}

// refuseOwnScript refuses a script whose #! line has corral read it, and names no
// program to run: corral would run the script, and so on for ever.
func refuseOwnScript(path string) error {
	line := interpreterLine(path)
	if len(line) == 0 {
		return nil
	}
	if filepath.Base(line[0]) == "env" {
		if line = afterEnv(line[1:]); len(line) == 0 {
			return nil
		}
	}
	program, err := exec.LookPath(line[0])
	if err != nil || !isSelf(program) {
		return nil
	}
	args := line[1:]
	if calledTimeout(line[0]) {
		args = append([]string{timeoutName}, args...)
	}
	if namesCommand(args) {
		return nil
	}
	return &exitError{statusCannot, fmt.Errorf("%s: its first line names corral, but no program to read it; write #!%s sh", path, program)}
}

// afterEnv returns what is left of the arguments of env(1) when its own are read: its
// options, those of GNU and the BSDs, and variables.
func afterEnv(args []string) []string {
	options := true
	for len(args) > 0 {
		word := args[0]
		switch {
		case options && word == "--":
			options, args = false, args[1:]
		case options && strings.HasPrefix(word, "-"):
			args = afterEnvOption(word, args[1:])
		case strings.Contains(word, "="):
			options, args = false, args[1:]
		default:
			return args
		}
	}
	return nil
}

// afterEnvOption returns what follows word, an option of env(1) or several in one word:
// next, without the option's value, or with words that the option has in it.
func afterEnvOption(word string, next []string) []string {
	const withValue = "uCaPLU" // -S aside: variable, directory, name, path, users
	if long, ok := strings.CutPrefix(word, "--"); ok {
		name, value, given := strings.Cut(long, "=")
		begins := func(full string) bool { return strings.HasPrefix(full, name) } // as getopt_long(3) completes it
		switch {
		case begins("split-string") && value != "":
			return append([]string{value}, next...)
		case !given && (begins("unset") || begins("chdir") || begins("argv0")):
			return next[min(len(next), 1):]
		}
		return next
	}
	for i, letter := range word[1:] {
		rest := word[1+i+1:]
		switch {
		case letter == 'S' && rest != "":
			return append([]string{rest}, next...)
		case strings.ContainsRune(withValue, letter) && rest != "":
			return next
		case strings.ContainsRune(withValue, letter):
			return next[min(len(next), 1):]
		}
	}
	return next
}

// namesCommand reports whether args, for corral, have a command in them, so that
// what a #! line adds is an argument of that.
func namesCommand(args []string) bool {
	root := rootFor(args)
	c, rest, err := root.Find(asCommandLine(root, nil, args))
	if err != nil || c.Flags().Lookup(commandFlag) == nil && c.Name() != timeoutName {
		return true // it does not run what it is given
	}
	least := 1
	if c.Name() == timeoutName {
		least = 2
	}
	return c.ParseFlags(rest) != nil || c.Flags().NArg() >= least
}

// asCommandLine writes what programs say to a shell in flags of corral: of
//
//	-q -ec STRING NAME ARG
//
// it makes -q --command --shell-option=-e -- STRING NAME ARG. As in a shell, an
// option may come after -c, too, and STRING is the first word that is none. A word
// all of whose letters are flags of corral is corral's (-v, -qc), another one whose
// letters are options of shells is the shell's. Where there is no -c, or something
// that is neither, args stay as they are.
//
// more are flags that root has not, but what args are for.
func asCommandLine(root *cobra.Command, more *pflag.FlagSet, args []string) []string {
	flags := root.Flags()
	if flags.Lookup(commandFlag) == nil || !slices.ContainsFunc(args, mayHaveC) {
		return args
	}
	if more != nil {
		flags = more
	}
	var out []string
	found, sub := false, false
	i := 0
	for ; i < len(args) && args[i] != "--"; i++ {
		word := args[i]
		if len(word) < 2 || word[0] != '-' && word[0] != '+' {
			c := runner(root, word)
			if c == nil || found || sub {
				break
			}
			flags, sub, out = c.Flags(), true, append(out, word)
			continue
		}
		if flag, known := valueFlag(flags, word); known && word[0] == '-' {
			found = found || setsCommand(flags, word)
			out = append(out, word)
			if flag != nil && i+1 < len(args) {
				i++
				out = append(out, args[i])
			}
			continue
		}
		options, names, c := shellWord(word)
		if len(options) == 0 && !c && word[0] == '+' {
			break
		}
		if len(options) == 0 && !c || lackNames(args[i+1:], names) {
			return args
		}
		if c && !found {
			found, out = true, append(out, "--"+commandFlag)
		}
		for _, option := range append(options, args[i+1:i+1+names]...) {
			out = append(out, "--"+optionFlag+"="+option)
		}
		i += names
	}
	if !found {
		return args
	}
	if i < len(args) && args[i] == "--" {
		i++
	}
	return append(append(out, "--"), args[i:]...)
}

// lackNames reports whether the next words are not the names of n options.
func lackNames(next []string, n int) bool {
	return len(next) < n || slices.ContainsFunc(next[:n], func(name string) bool { return strings.HasPrefix(name, "-") })
}

// shellError says why asCommandLine has left args, for c, as they are, though there is a
// -c. Without one it returns nil: then a word may be meant for anything.
func shellError(c *cobra.Command, args []string) (first error) {
	flags, found := c.Flags(), false
	for i := 0; i < len(args) && args[i] != "--" && len(args[i]) > 1 && strings.ContainsRune("-+", rune(args[i][0])); i++ {
		word := args[i]
		if flag, known := valueFlag(flags, word); known && word[0] == '-' {
			found = found || setsCommand(flags, word)
			if flag != nil {
				i++
			}
			continue
		}
		options, names, hasC := shellWord(word)
		found = found || hasC
		lacking := lackNames(args[i+1:], names)
		switch {
		case first != nil:
		case len(options) == 0 && !hasC:
			first = unknownFlag(c, word)
		case lacking:
			first = fmt.Errorf("%s needs the name of an option of the shell after it, such as errexit", word)
		}
		if !lacking {
			i += names
		}
	}
	if !found {
		return nil
	}
	return first
}

// mayHaveC reports whether word may be one that asks for a command line.
func mayHaveC(word string) bool {
	return len(word) > 1 && word[0] == '-' && strings.Contains(word, "c")
}

// runner returns the command of root that is called name and runs others with the
// flags of a run.
func runner(root *cobra.Command, name string) *cobra.Command {
	for _, c := range root.Commands() {
		if c.Name() == name && c.Flags().Lookup(commandFlag) != nil {
			return c
		}
	}
	return nil
}

// setsCommand reports whether word, all of which are flags of corral, has -c in it.
func setsCommand(flags *pflag.FlagSet, word string) bool {
	if long, ok := strings.CutPrefix(word, "--"); ok {
		name, _, _ := strings.Cut(long, "=")
		return name == commandFlag
	}
	for i := 1; i < len(word); i++ {
		flag := flags.ShorthandLookup(word[i : i+1])
		switch {
		case flag == nil: // help
		case flag.Name == commandFlag:
			return true
		case flag.NoOptDefVal == "":
			return false // the rest is its value
		}
	}
	return false
}

// shellLetters are the options of sh, bash, ksh and zsh that are passed on. Those
// with which they would not run a command line, as -s, are not among them.
const shellLetters = "abefhilmnpruvxCBEHPT"

// shellWord reads a word of options of a shell: which to pass on, how many of the
// next words belong to them (-o pipefail), and whether -c was among them. Without
// either it is not such a word.
func shellWord(word string) (options []string, names int, c bool) {
	if slices.Contains([]string{"--login", "--noprofile", "--norc", "--posix"}, word) {
		return []string{word}, 0, false
	}
	rest := word[:1]
	for _, letter := range word[1:] {
		switch {
		case letter == 'c' && word[0] == '-':
			c = true
			continue
		case letter == 'o' || letter == 'O':
			names++
		case !strings.ContainsRune(shellLetters, letter):
			return nil, 0, false
		}
		rest += string(letter)
	}
	if len(rest) > 1 {
		options = []string{rest}
	}
	return options, names, c
}

// shellName is a flag's value: a shell.
type shellName string

func (v *shellName) Set(s string) error {
	if s == "" {
		return errors.New("the name of the shell is empty")
	}
	*v = shellName(s)
	return nil
}

func (v *shellName) String() string { return string(*v) }
func (v *shellName) Type() string   { return "SHELL" }

// shellOptions is the value of the hidden flag: words for the shell.
type shellOptions []string

func (v *shellOptions) Set(s string) error { *v = append(*v, s); return nil }
func (v *shellOptions) String() string     { return strings.Join(*v, " ") }
func (v *shellOptions) Type() string       { return "OPTION" }
