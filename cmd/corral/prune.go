//go:build linux || darwin || freebsd || windows

package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/corral-run/corral/internal/registry"
)

func newPrune() *cobra.Command {
	o := &pruneFlags{}
	c := &cobra.Command{
		Use:   "prune [flags]",
		Short: "Remove what is left of runs that are over",
		Long: `Remove the records and the logs of runs in the background that are over, the entries
of runs whose owner was killed, and files that were never finished. No process is
touched, and nothing of a run that goes on.`,
		Example: `  corral prune
  corral prune --older-than 7d`,
		Annotations: map[string]string{exitStatuses: `0	there is nothing left to remove
1	some could not be removed
125	bad arguments
`},
		DisableFlagsInUseLine: true,
		Args:                  noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := registry.Supported(); err != nil {
				return &exitError{statusOwn, fmt.Errorf("prune: %w", err)}
			}
			o.pruneRegistry()
			o.pruneRecords()
			for _, err := range o.errs {
				say(c.ErrOrStderr(), "cannot remove all: %v", err)
			}
			_, err := fmt.Fprintf(c.OutOrStdout(), "removed %s, %s, %s\n", count(o.records, "record with its log", "records with their logs"),
				count(o.entries, "entry of a dead owner", "entries of dead owners"), count(o.files, "other file", "other files"))
			switch {
			case err != nil:
				return &exitError{statusOwn, err}
			case len(o.errs) > 0:
				return &exitError{status: statusStuck}
			}
			return nil
		},
	}
	flags := c.Flags()
	flags.SortFlags = false
	flags.Var(&o.older, "older-than", "keep records of runs that ended less than this DURATION ago")
	flags.BoolVar(&o.unseen, "unseen", false, "also what cannot be seen from here, as the owner is, or was, in another PID namespace: for what a container has left")
	complete(c, "older-than", nil)
	return c
}

// pruneFlags are those of `corral prune`, and what it has done.
type pruneFlags struct {
	older  duration
	unseen bool

	records, entries, files int
	errs                    []error
}

func count(n int, one, more string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, more)
}

// note records an error, and reports whether there was none.
func (o *pruneFlags) note(err error) bool {
	if err != nil {
		o.errs = append(o.errs, err)
	}
	return err == nil
}

// pruneRegistry removes what is stale; a look at it does that by itself.
func (o *pruneFlags) pruneRegistry() {
	dirs, errs := registry.Dirs(os.Geteuid())
	o.errs = append(o.errs, errs...)
	for _, d := range dirs {
		defer d.Close()
		contents, err := d.List()
		if !o.note(err) {
			continue
		}
		o.entries += contents.Removed
		if o.unseen {
			for _, f := range append(contents.Runs, contents.Kept...) {
				if f.State == registry.Unseen && o.note(f.Forget()) {
					o.entries++
				}
			}
		}
		n, err := d.Sweep()
		o.files += n
		o.note(err)
	}
}

// pruneRecords removes the records of runs that are over, each with its logs.
func (o *pruneFlags) pruneRecords() {
	dir, err := stateDir(false)
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	if !o.note(err) {
		return
	}
	defer dir.Close()
	names, err := dir.Names()
	if !o.note(err) {
		return
	}
	recorded := make(map[string]bool)
	for _, name := range names {
		if id, is := strings.CutSuffix(name, recordSuffix); is && registry.IsID(id) {
			recorded[id] = true
			o.pruneRecord(dir, id)
		}
	}
	n, err := dir.Sweep() // records that were not finished
	o.files += n
	o.note(err)
	for _, name := range names {
		id, suffix, _ := strings.Cut(name, ".")
		if "."+suffix != logSuffix && "."+suffix != olderSuffix || !registry.IsID(id) || recorded[id] {
			continue
		}
		info, err := os.Lstat(filepath.Join(dir.Path(), name))
		if err == nil && time.Since(info.ModTime()) > registry.LeftAge && !dir.InUse(id+logSuffix) && o.note(dir.Delete(name)) {
			o.files++
		}
	}
}

func (o *pruneFlags) pruneRecord(dir *registry.Dir, id string) {
	e, err := dir.Read(id + recordSuffix)
	if err != nil {
		return // removed this moment, or none: Sweep sees to it
	}
	state := recordState(e)
	over := state == stateEnded || state == stateLost || state == stateUnseen && o.unseen
	last := e.Started
	if e.Ended != nil {
		last = e.Ended.Time
	}
	if !over || time.Since(last) < time.Duration(o.older) {
		return
	}
	// The record comes last, so that what cannot be removed is found again.
	err = errors.Join(dir.Delete(id+olderSuffix), dir.Delete(id+logSuffix))
	if err == nil {
		err = dir.DeleteEntry(id + recordSuffix)
	}
	if o.note(err) {
		o.records++
	}
}
