//go:build linux || darwin || freebsd || windows

package main

import (
	"cmp"
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"
)

// linkedVersion and linkedCommit are what a release build says about itself, as
// the go command knows neither where there is no checkout:
//
//	go build -ldflags "-X main.linkedVersion=v1.2.3 -X main.linkedCommit=HASH"
var linkedVersion, linkedCommit string

// build is how a program was made.
type build struct {
	version string // "(devel)" if it is none of any release
	commit  string // "" if unknown
}

// thisBuild is the build of the running program.
func thisBuild() build {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		info = new(debug.BuildInfo)
	}
	return buildOf(info, linkedVersion, linkedCommit)
}

// buildOf puts together what the go command and the linker have been told. A go
// install with a version has no repository: the commit is known only if the version
// is made from one.
func buildOf(info *debug.BuildInfo, version, commit string) build {
	b := build{cmp.Or(version, info.Main.Version, "(devel)"), commit}
	if b.commit != "" {
		return b
	}
	settings := make(map[string]string)
	for _, s := range info.Settings {
		settings[s.Key] = s.Value
	}
	b.commit = cmp.Or(settings["vcs.revision"], pseudoCommit(b.version))
	if b.commit != "" && settings["vcs.modified"] == "true" {
		b.commit += " with changes"
	}
	return b
}

// pseudoCommit returns the commit that a pseudo-version ends in, after the time in
// fourteen digits (https://go.dev/ref/mod#pseudo-versions), or "".
func pseudoCommit(version string) string {
	version, _, _ = strings.Cut(version, "+")
	i := strings.LastIndex(version, "-")
	rest, commit := version[:max(i, 0)], version[i+1:]
	if len(commit) != 12 || strings.Trim(commit, "0123456789abcdef") != "" {
		return ""
	}
	stamp := rest[max(0, len(rest)-14):]
	if len(stamp) != 14 || strings.Trim(stamp, "0123456789") != "" {
		return ""
	}
	return commit
}

func version() string { return thisBuild().version }

// versionLine is all that a program knows about how it was built.
func versionLine() string {
	b := thisBuild()
	about := []string{runtime.Version(), runtime.GOOS + "/" + runtime.GOARCH}
	if b.commit != "" {
		about = append([]string{"commit " + b.commit}, about...)
	}
	return fmt.Sprintf("corral %s (%s)\n", b.version, strings.Join(about, ", "))
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
		Long: `Say which version of corral this is, from which commit it was built, if that is
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
