//go:build linux || darwin || freebsd || windows

package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/user"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/corral-run/corral/internal/proctree"
	"github.com/corral-run/corral/internal/registry"
)

// A known run is what can be found out about a run: its entry in the registry, while
// it lasts; the record, if it is in the background; whom it has kept.
type knownRun struct {
	registry.Entry
	state runState
	found *registry.Found // nil if it is not registered (any more)
	kept  *registry.Found // nil if nothing is
	log   string          // the path of its log; empty if there is none
}

// runState is what is known of a run.
type runState string

const (
	stateRunning runState = "running"
	stateUnseen  runState = "unseen" // its owner cannot be seen from here, and may live
	stateEnded   runState = "ended"
	stateLost    runState = "lost" // its owner has ended, and has not recorded how the run has
	stateKept    runState = "kept" // it is over, and has left processes alone on purpose
)

// live reports whether the run may go on.
func (r *knownRun) live() bool { return r.state == stateRunning || r.state == stateUnseen }

// title is what the run is called in a message.
func (r *knownRun) title() string { return fmt.Sprintf("%s (%s)", r.ID, printable(r.Name)) }

// selection is which runs a command is about, by flags that several have.
type selection struct {
	labels labels
	all    bool
	user   string
}

func (s *selection) define(c *cobra.Command, all string) {
	s.labels = labels{}
	flags := c.Flags()
	flags.SortFlags = false
	if all != "" {
		flags.BoolVarP(&s.all, "all", "a", false, all)
	}
	flags.VarP(s.labels, "label", "l", "those with this label, a KEY=VALUE, or with any value, a KEY; may be repeated: those with all of them")
	complete(c, "label", nil)
	s.defineUser(c)
}

func (s *selection) defineUser(c *cobra.Command) {
	c.Flags().StringVar(&s.user, "user", "", "the runs of another `USER`, which root alone may see")
	complete(c, "user", nil)
}

// uid is the user whose runs are meant.
func (s *selection) uid() (int, error) {
	if s.user == "" {
		return os.Geteuid(), nil
	}
	if uid, err := strconv.ParseUint(s.user, 10, 31); err == nil {
		return int(uid), nil
	}
	u, err := user.Lookup(s.user)
	if err != nil {
		return 0, fmt.Errorf("--user %q: there is no such user", s.user)
	}
	return strconv.Atoi(u.Uid)
}

// has reports whether the run has the labels.
func (s *selection) has(r *knownRun) bool {
	for key, value := range s.labels {
		if got, ok := r.Labels[key]; !ok || value != "" && got != value {
			return false
		}
	}
	return true
}

// runs finds all runs, those that began first first. What is wrong with a place where
// they could be is said, and the others are there all the same.
func (s *selection) runs(c *cobra.Command) ([]*knownRun, error) {
	if err := registry.Supported(); err != nil {
		return nil, &exitError{statusOwn, fmt.Errorf("%s: %w", c.Name(), err)}
	}
	uid, err := s.uid()
	if err != nil {
		return nil, err
	}
	runs, dirs, errs := findRuns(uid) // the directories stay open, for what is asked later
	for _, err := range errs {
		say(c.ErrOrStderr(), "%v", err)
	}
	if len(errs) > 0 && len(dirs) == 0 && s.user != "" {
		return nil, &exitError{status: statusOwn}
	}
	return runs, nil
}

// findRuns finds all runs of a user, and what is wrong with a place where they could
// be. Its owners can be asked as long as the directories are open.
func findRuns(uid int) (runs []*knownRun, dirs []*registry.Dir, errs []error) {
	byID := make(map[string]*knownRun)
	dirs, errs = registry.Dirs(uid)
	for _, d := range dirs {
		contents, err := d.List()
		if err != nil {
			errs = append(errs, err)
			continue
		}
		for _, f := range contents.Runs {
			byID[f.ID] = &knownRun{Entry: f.Entry, found: &f, state: stateRunning}
			if f.State == registry.Unseen {
				byID[f.ID].state = stateUnseen
			}
		}
		for _, f := range contents.Kept {
			if byID[f.ID] == nil {
				byID[f.ID] = &knownRun{Entry: f.Entry, state: stateKept}
			}
			byID[f.ID].kept = &f
		}
	}
	if uid == os.Geteuid() {
		errs = append(errs, addRecords(byID)...)
	}
	runs = slices.SortedFunc(maps.Values(byID), func(a, b *knownRun) int {
		return cmp.Or(a.Started.Compare(b.Started), strings.Compare(a.ID, b.ID))
	})
	return runs, dirs, errs
}

// addRecords adds what the records of runs in the background say.
func addRecords(byID map[string]*knownRun) (errs []error) {
	dir, err := stateDir(false)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return []error{err}
	}
	defer dir.Close()
	names, err := dir.Names()
	if err != nil {
		return []error{err}
	}
	for _, name := range names {
		id, isRecord := strings.CutSuffix(name, recordSuffix)
		if !isRecord || !registry.IsID(id) {
			continue
		}
		e, err := dir.Read(name)
		if err != nil {
			continue // it is removed this moment, or is none
		}
		r := byID[id]
		if r == nil {
			r = &knownRun{Entry: *e}
			byID[id] = r
		}
		r.log, r.Ended = dir.Path()+"/"+id+logSuffix, e.Ended
		if r.found == nil {
			r.state = recordState(e)
		}
	}
	return errs
}

// recordState is the state of a run of which there is only the record.
func recordState(e *registry.Entry) runState {
	if e.Ended != nil {
		return stateEnded
	}
	return map[registry.State]runState{registry.Live: stateRunning, registry.Stale: stateLost, registry.Unseen: stateUnseen}[e.Owner.Look()]
}

// run finds the run that word means. If there is none, the error has this exit status.
func (s *selection) run(c *cobra.Command, word string, status int) (*knownRun, error) {
	runs, err := s.runs(c)
	if err != nil {
		return nil, err
	}
	r, err := pick(runs, word)
	if err != nil {
		return nil, &exitError{status, err}
	}
	return r, nil
}

// leastPrefix is how much of an ID stands for it.
const leastPrefix = 3

// pick returns the run that word means: by its ID, its name, or the beginning of its
// ID. Those that are live count before others, and a later run before an earlier one
// of the same name that is over.
func pick(runs []*knownRun, word string) (*knownRun, error) {
	if word == "" {
		return nil, errors.New("the name of a run cannot be empty")
	}
	matching := func(is func(*knownRun) bool) (some []*knownRun) {
		for _, r := range runs {
			if is(r) {
				some = append(some, r)
			}
		}
		return some
	}
	some := matching(func(r *knownRun) bool { return r.ID == word })
	if len(some) == 0 {
		some = matching(func(r *knownRun) bool { return r.Name == word && r.live() })
	}
	if len(some) == 0 {
		some = matching(func(r *knownRun) bool { return r.Name == word })
		some = some[max(0, len(some)-1):]
	}
	if len(some) == 0 && len(word) >= leastPrefix {
		some = matching(func(r *knownRun) bool { return strings.HasPrefix(r.ID, word) })
	}
	switch len(some) {
	case 0:
		return nil, fmt.Errorf("there is no run %q; 'corral ps --all' lists them", word)
	case 1:
		return some[0], nil
	}
	var ids []string
	for _, r := range some {
		ids = append(ids, r.ID)
	}
	return nil, fmt.Errorf("%d runs are called %q; take one by its ID: %s", len(some), word, strings.Join(ids, ", "))
}

// needRun refuses arguments that are not one run.
func needRun(c *cobra.Command, args []string) error {
	if len(args) != 1 {
		return fmt.Errorf("%s needs one run, by its ID or its name", c.Name())
	}
	return nil
}

// completeRuns offers the live runs to the shells' completions.
func completeRuns(c *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
	var s selection
	runs, _ := s.runs(c)
	var words []string
	for _, r := range runs {
		words = append(words, fmt.Sprintf("%s\t%s", r.ID, shorten(printable(r.Name+": "+commandLine(&r.Entry)), 60)))
	}
	return words, cobra.ShellCompDirectiveNoFileComp
}

// commandLine is the command of a run on one line.
func commandLine(e *registry.Entry) string {
	line := strings.Join(e.Command, " ")
	if e.Redacted {
		line += " [redacted]"
	}
	return line
}

// ask asks the owner of a run. What the error is about is for the caller to say.
func (r *knownRun) ask(ctx context.Context, req registry.Request) (registry.Reply, error) {
	switch {
	case r.found == nil && r.live() && r.log != "" && soon(ctx, r.isRecorded):
		return registry.Reply{}, os.ErrProcessDone // it was about to end, and off the registry
	case r.found == nil && r.live():
		return registry.Reply{}, fmt.Errorf("%w: it is not registered", registry.ErrNoControl)
	case r.found == nil:
		return registry.Reply{}, os.ErrProcessDone
	}
	if req.Do != "wait" && r.suspended() {
		return registry.Reply{}, fmt.Errorf("its owner is suspended: %s", r.resume())
	}
	if req.Do == "stop" { // the only answer that may be long in coming
		watched, cancel := context.WithCancelCause(ctx)
		defer cancel(nil)
		defer r.watchSuspended(watched, func() {
			cancel(fmt.Errorf("its owner has been suspended: %s, and the stop goes on", r.resume()))
		})()
		ctx = watched
	}
	reply, err := r.found.Ask(ctx, req)
	if why := context.Cause(ctx); why != nil && errors.Is(err, context.Canceled) {
		err = why
	}
	if errors.Is(err, registry.ErrNoAnswer) && soon(ctx, r.isOver) {
		err = os.ErrProcessDone
	}
	return reply, err
}

// suspended reports whether the owner is known to be stopped by a signal: until it is
// resumed, it does nothing.
func (r *knownRun) suspended() bool {
	row, err := proctree.Brief(r.Owner.PID)
	return err == nil && r.state == stateRunning && row.Start == r.Owner.Start && row.State == proctree.Stopped
}

// resume is what a message says about a suspended owner.
func (r *knownRun) resume() string { return fmt.Sprintf("resume it, as by kill -CONT %d", r.Owner.PID) }

// watchSuspended calls tell whenever the owner becomes suspended, and stays so for more
// than a moment, until ctx is done or the result is called. No system tells that of a
// process but its parent, so it looks: the longer it waits, the less often.
func (r *knownRun) watchSuspended(ctx context.Context, tell func()) (leave func()) {
	const shortest, longest, looks = 250 * time.Millisecond, 4 * time.Second, 2
	ctx, cancel := context.WithCancel(ctx)
	var watching sync.WaitGroup
	watching.Go(func() {
		for seen, pause := 0, shortest; ; pause = min(2*pause, longest) {
			select {
			case <-ctx.Done():
				return
			case <-time.After(pause):
			}
			if !r.suspended() {
				seen = 0
				continue
			}
			if seen++; seen == looks {
				tell()
			}
			if seen < looks {
				pause = shortest / 2
			}
		}
	})
	return func() {
		cancel()
		watching.Wait()
	}
}

// soon reports whether something is so within ownerPatience: an owner that does not
// answer may be about to take the run off the registry, or to die, and one that has
// taken it off to record how it ended.
func soon(ctx context.Context, is func() bool) bool {
	const pause = 20 * time.Millisecond
	for began := time.Now(); !is(); time.Sleep(pause) {
		if time.Since(began) > ownerPatience || ctx.Err() != nil {
			return false
		}
	}
	return true
}

// isRecorded reports whether the end of a run in the background is recorded, or never
// will be, as its owner has ended.
func (r *knownRun) isRecorded() bool {
	e := r.reread()
	return e == nil || e.Ended != nil || e.Owner.Look() == registry.Stale
}

// isOver reports whether the run is not in the registry any more, or has lost its
// owner.
func (r *knownRun) isOver() bool {
	_, err := r.found.From.Read(r.ID + recordSuffix)
	return errors.Is(err, fs.ErrNotExist) || r.found.Owner.Look() == registry.Stale
}

// awaitOwner waits until the owner of a run in the background has ended: the record
// is complete then.
func (r *knownRun) awaitOwner(ctx context.Context) error {
	if r.state == stateUnseen {
		return errors.New("its owner cannot be seen from here: it is in another PID namespace, or on another host")
	}
	h, err := proctree.Open(proctree.ID{PID: r.Owner.PID, Start: r.Owner.Start})
	if errors.Is(err, proctree.ErrGone) {
		return nil
	}
	if err != nil {
		return err
	}
	defer h.Close()
	return h.Wait(ctx)
}

// reread returns what the record says by now; nil if there is none.
func (r *knownRun) reread() *registry.Entry {
	dir, err := stateDir(false)
	if err != nil {
		return nil
	}
	defer dir.Close()
	e, err := dir.Read(r.ID + recordSuffix)
	if err != nil {
		return nil
	}
	return e
}

// ageOf is the time since a moment, in its two largest units.
func ageOf(t time.Time) string { return age(proctree.Process{Started: t}, time.Now()) }
