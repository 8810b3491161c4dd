// Package daemons tells processes by the program that they execute, and knows
// programs that go into the background on purpose.
package daemons

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/corral-run/corral/internal/proctree"
)

// Word is the pattern that stands for all of Known.
const Word = "daemons"

// Daemon is a well-known program.
type Daemon struct {
	// Programs are the names of its executables. One with slashes is the end of a
	// path.
	Programs []string
	// Away says that the program does not always go into the background. It has when
	// it is in another session than the owner, and has no terminal.
	Away bool
}

// Known are the programs that the word daemons stands for. docs/keep.md lists them.
var Known = []Daemon{
	{[]string{"git"}, true}, // git's automatic maintenance: `git gc --auto`, `git maintenance run --auto`, `git repack` below them
	{[]string{"gpg-agent", "keyboxd", "dirmngr", "scdaemon"}, false}, // GnuPG's
	{[]string{"ssh-agent"}, false},                                   // OpenSSH's agent
	{[]string{"ssh"}, true},                                          // OpenSSH's shared connections (`ControlMaster`, `ControlPersist`), and `ssh -f`
	{[]string{"tmux", "screen"}, true},                               // the servers of tmux and GNU screen, with all that runs in them
	{[]string{"adb"}, true},                                          // the server of the Android Debug Bridge
	{[]string{"embedded_tools/jdk/bin/java"}, false},                 // Bazel's server, with the Java that Bazel brings along
	{[]string{"sccache"}, true},                                      // sccache's server
	{[]string{"watchman"}, true},                                     // Watchman's server
	{[]string{"conmon", "catatonit"}, false},                         // Podman's containers in the background, with all that runs in them
}

// is reports whether a process is one of the daemon's.
func (d Daemon) is(id proctree.ID, executable string) bool {
	return slices.ContainsFunc(d.Programs, func(name string) bool {
		return executable != "" && strings.HasSuffix("/"+strings.TrimPrefix(executable, "/"), "/"+name)
	}) && (!d.Away || away(id))
}

// Matcher returns a function that reports whether a process executes a program that
// one of the patterns is about: see corral.KeepPrograms.
func Matcher(patterns []string) (func(id proctree.ID, executable string) bool, error) {
	for _, p := range patterns {
		_, err := path.Match(p, "")
		switch {
		case p == "":
			return nil, fmt.Errorf("%q: an empty pattern matches no program", p)
		case err != nil:
			return nil, fmt.Errorf("%q: %w", p, err)
		case strings.Contains(p, "/") && p[0] != '/':
			return nil, fmt.Errorf("%q: a pattern with a slash is for the whole path, and begins with one", p)
		}
	}
	patterns = slices.Clone(patterns)
	return func(id proctree.ID, executable string) bool {
		return executable != "" && slices.ContainsFunc(patterns, func(p string) bool {
			if p == Word {
				return slices.ContainsFunc(Known, func(d Daemon) bool { return d.is(id, executable) })
			}
			name := executable
			if !strings.Contains(p, "/") {
				name = path.Base(executable)
			}
			ok, _ := path.Match(p, name)
			return ok
		})
	}, nil
}

// Name names the well-known daemon that a command line looks like, or returns "". It
// is for a hint: a process may call itself what it likes.
func Name(command []string) string {
	if len(command) == 0 {
		return ""
	}
	name := path.Base(strings.TrimSuffix(command[0], ":")) // "ssh: host [mux]", "tmux: server"
	known := slices.ContainsFunc(Known, func(d Daemon) bool {
		if name == "git" {
			return len(command) > 1 && slices.Contains([]string{"gc", "maintenance", "repack", "pack-objects"}, command[1])
		}
		return slices.Contains(d.Programs, name)
	})
	if !known {
		return ""
	}
	return name
}
