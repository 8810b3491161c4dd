//go:build linux || darwin || freebsd || windows

package main

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"
)

func version() string {
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "(devel)"
}

// versionLine is all that a program knows about how it was built.
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

// defineVersion gives c the flag --version, which has c write text and do nothing
// else. It is cobra's flag, but for its template: where text/template can be
// reached, the linker keeps all methods of all types, a quarter more of a program.
func defineVersion(c *cobra.Command, text func() string) {
	c.InitDefaultHelpFlag() // which help lists first, and which counts more
	const name = "version"
	asked := c.Flags().Bool(name, false, "version for "+c.Name())
	if err := c.Flags().SetAnnotation(name, cobra.FlagSetByCobraAnnotation, []string{"true"}); err != nil {
		panic(err) // there is no such flag: a mistake in this function
	}
	check, run := c.Args, c.RunE
	c.Args = func(c *cobra.Command, args []string) error {
		if *asked {
			return nil
		}
		return check(c, args)
	}
	c.RunE = func(c *cobra.Command, args []string) error {
		if *asked {
			fmt.Fprint(c.OutOrStdout(), text())
			return nil
		}
		return run(c, args)
	}
}

func newVersion() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Say which corral this is",
		Long: `Say which version of corral this is, from which revision it was built, if that is
known, with which Go, and for which system. corral --version says the same.`,
		Annotations: map[string]string{exitStatuses: `0	the version has been written
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
