//go:build linux || darwin || freebsd || windows

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/corral-run/corral/internal/proctree"
	"github.com/corral-run/corral/internal/registry"
)

func newTop() *cobra.Command {
	s := new(selection)
	var pause pauseFlag
	c := &cobra.Command{
		Use:   "top [flags] [RUN...]",
		Short: "Watch runs, with what they use",
		Long: `Show the runs of this user that go on, or each RUN, given by its ID or its name, with
the tree of their processes, and go on showing them.

CPU% is what each takes of one processor, TIME the processor time it has used, MEMORY
what it has resident, AGE the time since its start. What is not known is a dash. The
line of a run has the sums. In a narrow terminal some columns are left out.

` + liveKeys,
		Example: `  corral top
  corral top web
  corral top --label team=a --interval 1s`,
		Annotations: map[string]string{exitStatuses: `0	the key q, or the runs have been shown once
1	there is no such run, or the process table cannot be read
125	bad arguments, or they cannot be shown
128+n	signal n, or the key for it, ended it; n is 1 if the terminal is gone
`},
		DisableFlagsInUseLine: true,
		ValidArgsFunction:     completeRuns,
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) > 0 && len(s.labels) > 0 {
				return errors.New("--label names the runs: leave out the names, or the flag")
			}
			source, err := newRunsSource(c, s, args)
			if err != nil {
				return err
			}
			return watch(c, source, pause.pause())
		},
	}
	s.define(c, "")
	pause.define(c)
	return c
}

// liveKeys is what the help of both commands says of the keys.
const liveKeys = `Without a terminal it shows that once, and ends.

Arrows, j and k select a line. s stops the run of that line, and x its process with
all that is below it, when you have said yes. q quits.`

const pauseName = "interval"

// pauseFlag is how often something is shown anew.
type pauseFlag struct{ value pauseValue }

func (o *pauseFlag) define(c *cobra.Command) {
	o.value = pauseValue(2 * time.Second)
	c.Flags().VarP(&o.value, pauseName, "n", "look anew after this DURATION, a tenth of a second at least")
	complete(c, pauseName, nil)
}

func (o *pauseFlag) pause() time.Duration { return time.Duration(o.value) }

// pauseValue is a duration that is not too short.
type pauseValue duration

func (p *pauseValue) Set(s string) error {
	var d duration
	if err := d.Set(s); err != nil {
		return err
	}
	if time.Duration(d) < leastSpan {
		return fmt.Errorf("it has to be %v at least", leastSpan)
	}
	*p = pauseValue(d)
	return nil
}

func (p *pauseValue) String() string { return (*duration)(p).String() }
func (p *pauseValue) Type() string   { return "DURATION" }

// A source is what is shown by a command that goes on showing it.
type source interface {
	// look looks anew. An owner has so much time to answer.
	look(ctx context.Context, patience time.Duration) (*picture, error)
	// stopRun stops the run that has been selected, and says what became of it.
	stopRun(ctx context.Context, id string) (string, error)
	// mayStop says why the process that has been selected is not to be stopped.
	mayStop(id proctree.ID) error
}

// picture is what a look has found.
type picture struct {
	parts []usagePart
	meter meter
	notes []string // what is wrong
}

// runsSource shows runs.
type runsSource struct {
	selection *selection
	uid       int
	named     []string          // by ID; none: all that the flags name
	titles    map[string]string // of those named
	silent    map[string]bool   // whose owners did not answer the last time
	meter     meter
}

func newRunsSource(c *cobra.Command, s *selection, args []string) (*runsSource, error) {
	runs, err := s.runs(c) // says what is wrong
	if err != nil {
		return nil, err
	}
	o := &runsSource{selection: s, titles: make(map[string]string), silent: make(map[string]bool)}
	if o.uid, err = s.uid(); err != nil {
		return nil, err
	}
	for _, word := range args {
		r, err := pick(runs, word)
		switch {
		case err != nil:
			return nil, &exitError{statusStuck, err}
		case !r.live():
			return nil, &exitError{statusStuck, fmt.Errorf("%s is over", r.title())}
		case o.titles[r.ID] == "":
			o.named = append(o.named, r.ID)
			o.titles[r.ID] = runTitle(r, "over")
		}
	}
	return o, nil
}

func (o *runsSource) look(ctx context.Context, patience time.Duration) (*picture, error) {
	runs, dirs, errs := findRuns(o.uid)
	defer closeAll(dirs)
	runs = slices.DeleteFunc(runs, func(r *knownRun) bool {
		return !r.live() || !o.selection.has(r) || len(o.named) > 0 && !slices.Contains(o.named, r.ID)
	})
	answers := o.ask(ctx, runs, patience)
	table, err := proctree.Snapshot()
	if err != nil {
		return nil, err
	}
	o.meter.look(table, time.Now())
	pic := &picture{meter: o.meter}
	for _, err := range errs {
		pic.notes = append(pic.notes, err.Error())
	}
	o.silent = make(map[string]bool)
	shown := make(map[string]bool)
	for i, r := range runs {
		a := answers[i]
		if errors.Is(a.err, os.ErrProcessDone) {
			continue // it has just ended
		}
		shown[r.ID] = true
		part := usagePart{heading: &heading{run: r.ID, title: runTitle(r, a.reply.Phase), style: bold, since: r.Started}}
		if a.err == nil {
			part.members = membersIn(table, r, a.reply.Members)
			if l := a.reply.LeftOut; l != nil && l.Processes > 0 { // command lines are in the table
				pic.notes = append(pic.notes, fmt.Sprintf("%s: not shown: %v", r.title(), l))
			}
		} else {
			o.silent[r.ID] = true
			part.heading.title, part.heading.style = runTitle(r, "?"), yellow
			part.members = belowLeader(table, r)
			pic.notes = append(pic.notes, fmt.Sprintf("%s: what is below its command is shown: %v", r.title(), a.err))
		}
		pic.parts = append(pic.parts, part)
	}
	for _, id := range o.named {
		if !shown[id] {
			pic.parts = append(pic.parts, usagePart{heading: &heading{run: id, title: o.titles[id], style: dim}})
		}
	}
	return pic, nil
}

// belowLeader is what can be found of a run without its owner.
func belowLeader(table []proctree.Process, r *knownRun) []proctree.Process {
	if r.state == stateUnseen {
		return nil // its numbers are those of another PID namespace
	}
	i := slices.IndexFunc(table, func(p proctree.Process) bool { return p.ID == r.Leader.ID() })
	if i < 0 {
		return nil
	}
	return redact(append(proctree.Descendants(table, r.Leader.PID), table[i]), r)
}

// ownerSays is what an owner says.
type ownerSays struct {
	reply registry.Reply
	err   error
}

// lookPatience is how long an owner may take to say who its members are while somebody
// watches, oncePatience the same where all is shown once, and silentPatience how long one
// that has not answered may the next time.
const lookPatience, oncePatience, silentPatience = 2 * time.Second, 10 * time.Second, 100 * time.Millisecond

// ask asks the owners of the runs at the same time.
func (o *runsSource) ask(ctx context.Context, runs []*knownRun, most time.Duration) []ownerSays {
	answers := make([]ownerSays, len(runs))
	places := make(chan struct{}, mostAtOnce)
	var all sync.WaitGroup
	for i, r := range runs {
		patience := most
		if o.silent[r.ID] {
			patience = silentPatience
		}
		all.Go(func() {
			places <- struct{}{}
			defer func() { <-places }()
			soon, cancel := context.WithTimeout(ctx, patience)
			defer cancel()
			answers[i].reply, answers[i].err = r.ask(soon, registry.Request{Do: "look"})
		})
	}
	all.Wait()
	return answers
}

func (o *runsSource) stopRun(ctx context.Context, id string) (string, error) {
	runs, dirs, _ := findRuns(o.uid)
	defer closeAll(dirs)
	i := slices.IndexFunc(runs, func(r *knownRun) bool { return r.ID == id })
	if i < 0 || !runs[i].live() {
		return "over already", nil
	}
	return new(stopFlags).stop(ctx, runs[i], false)
}

func (o *runsSource) mayStop(id proctree.ID) error {
	return refuseForeign(o.uid, []registry.Process{{PID: id.PID, Start: id.Start}})
}

func closeAll(dirs []*registry.Dir) {
	for _, d := range dirs {
		d.Close()
	}
}
