//go:build linux || darwin || freebsd || windows

package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// checkCommandLine checks the flags in args before they are parsed. The parser
// takes whatever follows a flag for its value, even -- or another flag, and says
// little about a flag that it does not know.
//
// `corral timeout` takes -- for a value, as getopt(3) does, and refuses it in GNU
// timeout's words.
//
// It returns the arguments in a form in which cobra finds the command in them.
func checkCommandLine(root *cobra.Command, args []string) (*cobra.Command, []string, error) {
	args = splitShortFlags(root.Flags(), asCommandLine(root, nil, args))
	root.InitDefaultHelpCmd() // else it would not be found
	c, rest, err := root.Find(args)
	if err == nil && c != root { // whose flags may come first
		err = checkFlags(root, args, true)
	}
	if err == nil {
		err = checkFlags(c, rest, false)
	}
	return c, args, err
}

// splitShortFlags gives the last of the short flags in a word one of its own if its
// value is the next word: of -qt 5, cobra would take the 5 for a command. It looks
// at the words before the command.
func splitShortFlags(flags *pflag.FlagSet, args []string) []string {
	for i := 0; i < len(args); i++ {
		word := args[i]
		if len(word) < 2 || word[0] != '-' || word == "--" {
			break
		}
		flag, _ := valueFlag(flags, word)
		last := len(word) - 1
		switch {
		case flag == nil:
		case word[1] != '-' && last > 1:
			args = slices.Concat(args[:i], []string{word[:last], "-" + word[last:]}, args[i+1:])
		default:
			i++ // its value
		}
	}
	return args
}

// checkFlags checks the flags of c in args. Where others is true, a flag of another
// command may come, and ends the check.
func checkFlags(c *cobra.Command, args []string, others bool) error {
	flags := c.Flags()
	c.InitDefaultHelpFlag()
	c.InitDefaultVersionFlag()
	all := args
	first := c == c.Root() || slices.Contains([]string{"run", "init", "detach", timeoutName}, c.Name()) // flags come first
	for len(args) > 0 {
		word := args[0]
		args = args[1:]
		switch {
		case word == "--":
			return nil
		case len(word) < 2 || word[0] != '-':
			if first {
				return nil
			}
			continue
		}
		flag, known := valueFlag(flags, word)
		if !known && others {
			return nil
		}
		if !known && flags.Lookup(commandFlag) != nil {
			if err := shellError(c, all); err != nil {
				return err
			}
		}
		if !known {
			return unknownFlag(c, word)
		}
		if err := checkDashes(flags, word); err != nil {
			return err
		}
		if flag == nil {
			continue
		}
		if len(args) == 0 {
			return fmt.Errorf("%s needs a value (%s)", word, flag.Value.Type())
		}
		if c.Name() != timeoutName && isOption(flag, args[0]) {
			return fmt.Errorf("%s needs a value (%s), but %s follows; if that is meant, --%s=%s", word, flag.Value.Type(), args[0], flag.Name, args[0])
		}
		args = args[1:]
	}
	return nil
}

// valueFlag returns the flag of which the word after this one is the value, nil if
// there is none, and whether all flags in the word are known.
func valueFlag(flags *pflag.FlagSet, word string) (flag *pflag.Flag, known bool) {
	if name, long := strings.CutPrefix(word, "--"); long {
		name, _, given := strings.Cut(name, "=")
		if flag = flags.Lookup(name); flag == nil {
			return nil, false
		}
		if given || flag.NoOptDefVal != "" {
			return nil, true
		}
		return flag, true
	}
	for rest := word[1:]; rest != ""; rest = rest[1:] {
		if rest[0] >= 0x80 {
			return nil, false
		}
		flag = flags.ShorthandLookup(rest[:1])
		switch {
		case flag == nil && rest[0] == 'h': // the parser knows it
		case flag == nil:
			return nil, false
		case len(rest) > 2 && rest[1] == '=':
			return nil, true
		case flag.NoOptDefVal != "":
			flag = nil
		case len(rest) > 1:
			return nil, true
		}
	}
	return flag, true
}

// isOption reports whether word is more likely an option, or --, than the value of
// flag. A negative number is a value, about which the flag itself has more to say,
// unless the value is the name of a file.
func isOption(flag *pflag.Flag, word string) bool {
	if len(word) < 2 || word[0] != '-' {
		return false
	}
	number := '0' <= word[1] && word[1] <= '9' || word[1] == '.'
	return !number || flag.Value.Type() == (*fileName)(nil).Type()
}

// unknownFlag is the error about a flag that does not exist, with what may have
// been meant.
func unknownFlag(c *cobra.Command, word string) error {
	flags := c.Flags()
	if err := checkDashes(flags, word); err != nil {
		return err
	}
	name, long := strings.CutPrefix(word, "--")
	if !long {
		sig, err := parseSignal(word[1:])
		switch {
		case err == nil && signalName(sig) != "" && flags.Lookup("signal") != nil:
			return fmt.Errorf("unknown flag: %s; a signal is given by --signal %s", word, strings.TrimPrefix(signalName(sig), "SIG"))
		case '0' <= word[1] && word[1] <= '9' && strings.Contains(c.Use, "PID"):
			return fmt.Errorf("unknown flag: %s; a process ID is not negative, nor is that of its process group", word)
		}
		if _, known := valueFlag(c.Root().Flags(), word); known {
			return flagOfAnother(c, word)
		}
		if options, _, _ := shellWord(word); options != nil && flags.Lookup(commandFlag) != nil {
			return fmt.Errorf("unknown flag: %s; an option of a shell needs -c, or the shell: corral -- sh %s", word, word)
		}
		return fmt.Errorf("unknown flag: %s", word)
	}
	name, _, _ = strings.Cut(name, "=")
	if c.Name() == "init" && slices.Contains(keepNames, name) {
		return keepsNothing("--" + name)
	}
	if c.Root().Flags().Lookup(name) != nil {
		return flagOfAnother(c, word)
	}
	if name = nearest(name, longNames(flags)); name != "" {
		return fmt.Errorf("unknown flag: %s (did you mean --%s?)", word, name)
	}
	return fmt.Errorf("unknown flag: %s", word)
}

// flagOfAnother is the error about a flag that corral has, but not its command c.
func flagOfAnother(c *cobra.Command, word string) error {
	if c.Name() == "help" {
		return &exitError{statusOwn, fmt.Errorf("%s is a flag of corral, which 'corral --help' explains", word)}
	}
	hint := ""
	if flag := c.Root().Flags().Lookup(strings.TrimPrefix(word, "--")); c.Name() == timeoutName && flag != nil {
		hint = fmt.Sprintf(": write %s --timeout DURATION --%s ...", c.Root().CommandPath(), flag.Name)
	}
	return fmt.Errorf("unknown flag: %s; %s has it, %s has not%s", word, c.Root().CommandPath(), c.CommandPath(), hint)
}

// checkDashes refuses a long flag that is written with one dash.
func checkDashes(flags *pflag.FlagSet, word string) error {
	name, _, _ := strings.Cut(word[1:], "=")
	if len(name) > 1 && name[0] != '-' && slices.Contains(longNames(flags), name) {
		return fmt.Errorf("unknown flag: %s; it is written with two dashes: -%s", word, word)
	}
	return nil
}

func longNames(flags *pflag.FlagSet) []string {
	var names []string
	flags.VisitAll(func(f *pflag.Flag) {
		if !f.Hidden {
			names = append(names, f.Name)
		}
	})
	return names
}

// flagError is the error about a value that a flag refuses.
func flagError(_ *cobra.Command, err error) error {
	var invalid *pflag.InvalidValueError
	if !errors.As(err, &invalid) {
		return err
	}
	flag := invalid.GetFlag()
	if flag.Value.Type() == "bool" {
		return fmt.Errorf("--%s takes true or false, not %q", flag.Name, invalid.GetValue())
	}
	return fmt.Errorf("--%s %q: %w", flag.Name, invalid.GetValue(), errors.Unwrap(err))
}
