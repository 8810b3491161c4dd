//go:build linux || darwin || freebsd || windows

package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

// startHint says what to do about the error of c, which could not run word.
func startHint(c *cobra.Command, e *exitError, word string) string {
	switch {
	case e.status == statusNotFound:
		return wordHint(c, word)
	case e.status == statusCannot && errors.Is(e.err, fs.ErrPermission) && isPlainScript(word):
		return fmt.Sprintf(" (it is not executable; a shell reads it: corral -- sh %s)", word)
	}
	return ""
}

// isPlainScript reports whether path may be a script that is not executable, which
// is no hindrance for a shell that is given its name.
func isPlainScript(path string) bool {
	info, err := os.Stat(path)
	return err == nil && scriptShell != "" && info.Mode().IsRegular() && info.Mode()&0o111 == 0 && isText(path)
}

// wordHint says why c may not have found the command word.
func wordHint(c *cobra.Command, word string) string {
	name, _, set := strings.Cut(word, "=")
	switch {
	case set && name != "" && !strings.ContainsAny(name, "/ "):
		return fmt.Sprintf(" (a variable is set by env: env %s ...)", word)
	case strings.ContainsAny(word, " \t|&;<>()`"):
		return " (this is one word: leave out the quotes, or put -c before it)"
	case slices.Contains(builtins, word):
		return " (only a shell has that: use -c and quotes)"
	case !c.HasParent() && c.ArgsLenAtDash() < 0:
		return commandHint(c, word)
	}
	return ""
}

// builtins are commands that only a shell has.
var builtins = []string{
	".", "alias", "bg", "builtin", "cd", "declare", "eval", "exec", "exit", "export", "fg", "jobs", "let", "local", "pushd", "popd",
	"read", "return", "set", "shift", "source", "trap", "type", "ulimit", "umask", "unalias", "unset", "wait",
}

// commandHint asks whether one of corral's commands was meant by word, which is no
// command.
func commandHint(root *cobra.Command, word string) string {
	addCommands(root)
	names := []string{"help"}
	for _, sub := range root.Commands() {
		if sub.IsAvailableCommand() {
			names = append(names, sub.Name())
		}
	}
	if name := nearest(word, names); name != "" {
		return fmt.Sprintf(" (did you mean '%s %s'?)", root.CommandPath(), name)
	}
	return ""
}

// nearest returns the name that is most like word, or else the only one that begins
// with it; empty if none is like it enough to be meant.
func nearest(word string, names []string) string {
	word = strings.ToLower(word)
	best, least := "", 3
	if len(word) < 5 {
		least = 2 // git is not init
	}
	for _, name := range names {
		if d := edits(word, strings.ToLower(name)); d < least && d < len(word) {
			best, least = name, d
		}
	}
	if best != "" || len(word) < 3 {
		return best
	}
	for _, name := range names {
		if strings.HasPrefix(strings.ToLower(name), word) {
			if best != "" {
				return "" // it may be either of them
			}
			best = name
		}
	}
	return best
}

// edits counts the letters to insert, delete, replace, or swap with a neighbour to
// turn a into b: their optimal string alignment distance.
func edits(a, b string) int {
	rows := make([][]int, len(a)+1)
	for i := range rows {
		rows[i] = make([]int, len(b)+1)
		for j := range rows[i] {
			switch {
			case i == 0:
				rows[i][j] = j
				continue
			case j == 0:
				rows[i][j] = i
				continue
			}
			change := 1
			if a[i-1] == b[j-1] {
				change = 0
			}
			n := min(rows[i-1][j]+1, rows[i][j-1]+1, rows[i-1][j-1]+change)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				n = min(n, rows[i-2][j-2]+1)
			}
			rows[i][j] = n
		}
	}
	return rows[len(a)][len(b)]
}
