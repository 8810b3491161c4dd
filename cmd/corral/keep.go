//go:build linux || darwin || freebsd || windows

package main

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/corral-run/corral"
	"github.com/corral-run/corral/internal/daemons"
)

// keepPatterns is the value of --keep, which may be repeated, and takes lists with
// commas.
type keepPatterns []string

func (k *keepPatterns) Set(s string) error {
	for pattern := range strings.SplitSeq(s, ",") {
		pattern = strings.TrimSpace(pattern)
		if _, err := corral.KeepPrograms(pattern); err != nil {
			return errors.New(strings.TrimPrefix(err.Error(), fmt.Sprintf("corral: KeepPrograms: %q: ", pattern)))
		}
		*k = append(*k, pattern)
	}
	return nil
}

func (k *keepPatterns) String() string { return strings.Join(*k, ",") }
func (k *keepPatterns) Type() string   { return "GLOB" }

// keepFlags are the flags about who is let go of on purpose.
type keepFlags struct {
	keep        keepPatterns
	allowDetach bool
}

// keepNames are their names.
var keepNames = []string{"keep", "allow-detach"}

func (k *keepFlags) apply(cmd *corral.Cmd) {
	cmd.Keep = k.keep.function()
	cmd.AllowDetach = k.allowDetach
}

// define adds the flags to c.
func (k *keepFlags) define(c *cobra.Command) {
	c.Flags().Var(&k.keep, "keep", "do not stop processes whose executable, by its name or its path, matches this GLOB; "+daemons.Word+
		": well-known ones, as git's gc, gpg-agent, tmux; may be repeated")
	c.Flags().BoolVar(&k.allowDetach, "allow-detach", false, "let processes of the run leave it by 'corral detach'")
	complete(c, "keep", words(daemons.Word))
}

// keepsAll reports whether no leftover is stopped.
func (o *runFlags) keepsAll() bool {
	return o.leftovers == corral.KeepLeftovers || o.leftovers == corral.DetachLeftovers
}

// mayKeep reports whether somebody may be let go of.
func (o *runFlags) mayKeep() bool { return o.keepsAll() || o.allowDetach || len(o.keep) > 0 }

// hasKept reports whether somebody was let go of on purpose, who may hold the output.
func hasKept(r *corral.Report) bool {
	return slices.ContainsFunc(r.Leftovers, func(l corral.Leftover) bool { return l.Fate == corral.Kept || l.Fate == corral.Detached })
}

// function is Cmd.Keep; nil if there is no pattern.
func (k keepPatterns) function() func(corral.Process) bool {
	if len(k) == 0 {
		return nil
	}
	keep, err := corral.KeepPrograms(k...)
	if err != nil { // Set has refused it
		return nil
	}
	return keep
}

// keepHint says how not to stop well-known daemons that have been stopped as
// leftovers, where that can be had.
func (j *job) keepHint(r *corral.Report) string {
	if !canKeep || j.init != nil || r.Ending != corral.Exited || r.Containment != corral.Cgroup && r.Containment != corral.Keeper {
		return ""
	}
	var names []string
	for _, l := range r.Leftovers {
		name := daemons.Name(l.Command)
		if name == "ssh-agent" && os.Getuid() != 0 { // which executable it has, only root can see
			continue
		}
		if name != "" && (l.Fate == corral.Signalled || l.Fate == corral.Forced) && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return ""
	}
	return fmt.Sprintf(" (--keep %s keeps %s)", daemons.Word, strings.Join(names, ", "))
}
