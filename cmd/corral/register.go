//go:build linux || darwin || freebsd || windows

package main

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"github.com/corral-run/corral"
	"github.com/corral-run/corral/internal/registry"
)

// registerFlags say how a run is registered, so that `corral ps` and the others find
// it.
type registerFlags struct {
	name     runName
	labels   labels
	redact   bool
	detach   bool
	detached string // the ID of the run that this corral is to stay with: see detached.go
}

// runName is a flag's value: the name of a run.
type runName string

func (n *runName) Set(s string) error {
	*n = runName(s)
	return registry.CheckName(s)
}

func (n *runName) String() string { return string(*n) }
func (n *runName) Type() string   { return "NAME" }

// labels is a flag's value, which may be repeated, and takes lists with commas:
// KEY=VALUE, or KEY alone.
type labels map[string]string

func (l labels) Set(s string) error {
	for word := range strings.SplitSeq(s, ",") {
		key, value, _ := strings.Cut(word, "=")
		if err := registry.CheckLabel(key, value); err != nil {
			return err
		}
		l[key] = value
	}
	return registry.CheckLabels(l)
}

func (l labels) String() string {
	var all []string
	for _, key := range slices.Sorted(maps.Keys(l)) {
		if l[key] == "" {
			all = append(all, key)
		} else {
			all = append(all, key+"="+l[key])
		}
	}
	return strings.Join(all, ",")
}

func (l labels) Type() string { return "KEY=VALUE" }

const detachFlag, detachedFlag = "detach", "detached-as"

// define adds the flags; that for a run in the background only if there can be one.
func (o *registerFlags) define(add func(value pflag.Value, name, short, usage string, completions func() []string), flags *pflag.FlagSet, background bool) {
	o.labels = labels{}
	if background {
		flags.BoolVarP(&o.detach, detachFlag, "d", false, "start the run in the background and write its ID: 'corral logs' has its output, 'corral wait' its exit status")
		flags.StringVar(&o.detached, detachedFlag, "", "")
		flags.MarkHidden(detachedFlag)
	}
	add(&o.name, "name", "", "the NAME by which 'corral ps', 'corral stop' and the others know the run, the command's by default", nil)
	add(o.labels, "label", "", "give the run this label, a KEY=VALUE; may be repeated", nil)
	flags.BoolVar(&o.redact, "redact", false, "keep the arguments of the command out of what corral shows and writes")
}

// apply has the run registered.
func (o *registerFlags) apply(cmd *corral.Cmd, command string) {
	if registry.Supported() != nil {
		return
	}
	cmd.Name, cmd.Labels, cmd.Redact = string(o.name), maps.Clone(o.labels), o.redact
	if cmd.Name == "" {
		cmd.Name = registry.NameOf(command)
	}
}

// check says what cannot be had here, or together.
func (o *registerFlags) check(r *runFlags) error {
	err := registry.Supported()
	for flag, given := range map[string]bool{"--name": o.name != "", "--label": len(o.labels) > 0, "--redact": o.redact, "--detach": o.detach} {
		if given && err != nil {
			return &exitError{statusOwn, fmt.Errorf("%s: %w", flag, err)}
		}
	}
	if !o.detach {
		return nil
	}
	switch {
	case r.pty:
		return errors.New("--detach and --pty contradict each other: nobody is at that terminal")
	case r.outputLimit > 0:
		return errors.New("--detach and --output-limit contradict each other: the log of the run is bounded anyway")
	case ofDescriptor(string(r.events)):
		return fmt.Errorf("--detach and --events %s contradict each other: the run outlives whoever has that descriptor; name a file", r.events)
	}
	for _, line := range r.lifelines {
		if lostAtOnce(line) {
			return fmt.Errorf("--detach and --lifeline %s contradict each other: it is lost at once", line)
		}
	}
	return nil
}

// lostAtOnce reports whether a run in the background would lose this lifeline with the
// corral that has started it.
func lostAtOnce(lifeline string) bool {
	lifeline = strings.TrimSpace(lifeline)
	return isLifeline(lifeline) && !strings.HasPrefix(lifeline, "pid:")
}

// ofDescriptor reports whether events go to a descriptor that others have open.
func ofDescriptor(events string) bool { return strings.HasPrefix(events, "fd:") }

// sayUnregistered says why a run is not registered, which is no failure.
func (j *job) sayUnregistered() {
	_, err := j.cmd.RunID()
	if j.unregistered = err != nil; err != nil && !j.quiet {
		say(j.stderr, "the run is not registered, so 'corral ps' does not show it: %v", err)
	}
}

// sayKeptUnregistered says in the end why those that the run has kept are not
// registered, unless it was not itself, which has been said.
func (j *job) sayKeptUnregistered() {
	if _, err := j.cmd.RunID(); err != nil && !j.unregistered && !j.quiet {
		say(j.stderr, "%s, so 'corral ps --kept' does not show it", strings.TrimPrefix(err.Error(), "corral: "))
	}
}
