//go:build linux || darwin || freebsd || windows

package main

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/spf13/pflag"
)

// The flags of a run can be given in the environment, for those who can only name a
// program: CORRAL_OUTPUT_LIMIT=1M is --output-limit 1M. `corral init`, which others
// may run commands in, has a prefix of its own.
//
// A variable is for the corral that reads it: the command does not get it, or else
// each corral in the run would take for its own what the outer one was told.
//
// `corral timeout`, which others may call by the name timeout, has variables of the flags
// that GNU timeout does not have.
const (
	runPrefix     = "CORRAL_"
	initPrefix    = "CORRAL_INIT_"
	timeoutPrefix = "CORRAL_TIMEOUT_"
)

// variable is the name of the variable of a flag; empty if it has none.
func variable(prefix string, f *pflag.Flag) string {
	switch {
	case f.Hidden || slices.Contains([]string{"help", "version", commandFlag, detachFlag}, f.Name),
		prefix == timeoutPrefix && !slices.Contains(keepNames, f.Name):
		return ""
	}
	return variableOf(prefix, f.Name)
}

func variableOf(prefix, name string) string {
	return prefix + strings.ReplaceAll(strings.ToUpper(name), "-", "_")
}

// rivals are flags that exclude each other. The variable of the one does not count
// if the other was given.
var rivals = map[string][]string{
	"quiet":     {"verbose"},
	"verbose":   {"quiet"},
	"wait-all":  {"leftovers"},
	"leftovers": {"wait-all"},
	"stop":      {"signal", "grace"},
	"signal":    {"stop"},
	"grace":     {"stop"},

	"pty":          {detachFlag},
	"output-limit": {detachFlag},
}

// excluded reports whether a flag that was given excludes this value of another one.
func excluded(flags *pflag.FlagSet, name, value string) bool {
	keepsAll := func(policy string) bool { return policy == "keep" || policy == "detach" }
	switch {
	case name == "keep" && flags.Changed("leftovers") && keepsAll(flags.Lookup("leftovers").Value.String()),
		name == "leftovers" && flags.Changed("keep") && keepsAll(value):
		return true
	case name == "lifeline" && flags.Changed(detachFlag):
		return slices.ContainsFunc(strings.Split(value, ","), lostAtOnce)
	case name == "events" && flags.Changed(detachFlag):
		return ofDescriptor(value)
	}
	return slices.ContainsFunc(rivals[name], flags.Changed)
}

// takeEnvironment sets flags that were not given to what the environment says, and
// returns the variables of flags that are in it.
func takeEnvironment(flags *pflag.FlagSet, prefix string) (present []string, err error) {
	var values []func() error
	flags.VisitAll(func(f *pflag.Flag) {
		name := variable(prefix, f)
		if name == "" {
			return
		}
		value, ok := os.LookupEnv(name)
		if !ok {
			return
		}
		present = append(present, name)
		if value == "" || f.Changed || excluded(flags, f.Name, value) {
			return
		}
		values = append(values, func() error {
			var invalid *pflag.InvalidValueError
			err := flags.Set(f.Name, value)
			if errors.As(err, &invalid) {
				err = errors.Unwrap(err)
			}
			if err != nil && f.Value.Type() == "bool" {
				err = errors.New("use 1 or 0")
			}
			if err != nil {
				return fmt.Errorf("%s=%s: %w", name, value, err)
			}
			return nil
		})
	})
	for _, set := range values { // now that it is known which were given
		if err := set(); err != nil {
			return nil, err
		}
	}
	return present, nil
}

// withoutVariables is the environment of corral without the variables of these
// names; nil, for all of it, if there are none.
func withoutVariables(names []string) []string {
	if len(names) == 0 {
		return nil
	}
	return slices.DeleteFunc(os.Environ(), func(entry string) bool {
		name, _, _ := strings.Cut(entry, "=")
		return slices.ContainsFunc(names, func(n string) bool { return sameVariable(n, name) })
	})
}
