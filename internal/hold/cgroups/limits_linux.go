package cgroups

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/corral-run/corral/internal/cgroup"
	"github.com/corral-run/corral/internal/hold"
	"golang.org/x/sys/unix"
)

// Limits, and what a run uses, are the business of controllers. A cgroup has those
// that the one around it hands on, and that may not have a process of its own then
// (cgroup-v2.rst, "No Internal Process Constraint"). The owner is in its own cgroup. So
// the home of runs with controllers is not in there, but beside it: in a cgroup that
// has been delegated, of which the owner is in a part. That is what systemd asks of
// those that it delegates to (docs/CGROUP_DELEGATION.md in its source). In the root
// of the hierarchy, where the rule does not hold, it is in the owner's own.
//
// To move the owner is not for this package to do, but for its program: see StepAside.

// openCounted gets a directory that has controllers. Limits need theirs. Accounting
// does without, and knows less.
func (c *containment) openCounted(req hold.Request) error {
	var err error
	c.owner = &countedOwner
	if c.dir, _, err = c.owner.take(req.HelperPath, c.plan, true); err == nil {
		if err = c.owner.lacks(controllersFor(req.Limits)); err == nil {
			// What the command does in it is its own affair: so it may have limits for
			// runs of its own. Where there are no extended attributes, it may not.
			c.dir.MarkDelegated()
			return nil
		}
		c.owner.put(c.dir, c.plan, false, true)
	}
	if req.Limits != (hold.Limits{}) {
		return fmt.Errorf("%s cannot be limited: %w", limitedNames(req.Limits), err)
	}
	c.owner = &thisOwner
	c.dir, _, err = c.owner.take(req.HelperPath, c.plan, true)
	return err
}

// controllersFor are the controllers that limits need.
func controllersFor(l hold.Limits) (names []string) {
	for name, needed := range map[string]bool{"cpu": l.CPUs > 0, "memory": l.Memory > 0, "pids": l.PIDs > 0} {
		if needed {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

func limitedNames(l hold.Limits) string {
	of := map[string]string{"cpu": "CPUs", "memory": "memory", "pids": "processes"}
	var names []string
	for _, controller := range controllersFor(l) {
		names = append(names, of[controller])
	}
	return strings.Join(names, " and ")
}

// lacks returns why the runs' directories do not have one of the controllers.
func (o *ownerDir) lacks(controllers []string) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, name := range controllers {
		if why := o.lacking[name]; why != "" {
			return errors.New(why)
		}
	}
	return nil
}

// placeForControllers returns the cgroup in which the home of runs with controllers
// is to be, which is own, or around it.
func placeForControllers(own *cgroup.Dir) (*cgroup.Dir, error) {
	if own.IsRoot() {
		if err := unix.Access(own.Path(), unix.W_OK); err != nil {
			return own, fmt.Errorf("%s, which this program is in, is the root of all control groups, and not this user's (%w): %w", own.Path(), err, errInside)
		}
		return own, nil
	}
	path := own.Around()
	if path == "" {
		return own, fmt.Errorf("%s, which this program is in, is the topmost control group here, and it is not empty: %w", own.Path(), errInside)
	}
	around, err := cgroup.Open(path)
	if err != nil {
		return own, err
	}
	if around.IsRoot() || !isDelegated(around) {
		around.Close()
		return own, fmt.Errorf("%s, which this program is in, is not a part of a control group that has been delegated to it: %w", own.Path(), errInside)
	}
	return around, nil
}

// errInside says what to do.
var errInside = errors.New("start it in one: systemd-run --user --scope -p Delegate=yes COMMAND (without --user as root); see docs/limits.md")

// isDelegated reports whether d is for this process to divide: it is marked so, it is
// where the user's part of the hierarchy begins, or it is the topmost one in a
// container.
func isDelegated(d *cgroup.Dir) bool {
	return d.Delegated() || d.Around() == "" && !d.IsRoot() || os.Geteuid() != 0 && d.Owned()
}

// handOn hands the controllers on to the home of runs, and by that to the runs. It
// returns why it could not, for each that is lacking. In the root it takes only what
// that hands on already.
func handOn(around, home *cgroup.Dir) (lacking map[string]string) {
	lacking = make(map[string]string)
	available, err := around.Available()
	if err != nil {
		available = nil
	}
	for _, name := range cgroup.Controllers {
		if !slices.Contains(available, name) {
			lacking[name] = fmt.Sprintf("the control group %s does not have the controller %s (cgroup.controllers): version 1 has it, or nobody hands it on", around.Path(), name)
			continue
		}
		if err := handOnOne(around, home, name); err != nil {
			lacking[name] = err.Error()
		}
	}
	return lacking
}

func handOnOne(around, home *cgroup.Dir, name string) error {
	handed, err := around.HandedOn()
	if err != nil {
		return err
	}
	switch {
	case slices.Contains(handed, name):
	case around.IsRoot():
		return fmt.Errorf("the root of the control groups does not hand on the controller %s: echo +%s > %s/cgroup.subtree_control", name, name, around.Path())
	default:
		err = around.HandOn(name)
	}
	if err == nil {
		err = home.HandOn(name)
	}
	if errors.Is(err, unix.EBUSY) {
		err = fmt.Errorf("%s has processes of its own, so that it cannot hand on the controller %s: move them to a control group in it", around.Path(), name)
	}
	return err
}

// Limit puts the limits into force.
func (c *containment) Limit() error {
	if c.limits == (hold.Limits{}) {
		return nil
	}
	if err := c.dir.Limit(cgroup.Limits(c.limits)); err != nil {
		return fmt.Errorf("corral: cgroup containment: %w", err)
	}
	return nil
}

// account returns what the run has used, and what it had too little memory for. The
// last look counts once the directory is given up.
func (c *containment) account(last bool) counts {
	c.tally.mu.Lock()
	defer c.tally.mu.Unlock()
	if t := &c.tally; !t.closed {
		t.closed = last
		t.used = hold.Amounts(c.dir.Usage())
		t.outOfMemory, t.ofLimit = c.dir.KilledForMemory()
	}
	return c.tally.counts
}

// tally is what has been counted.
type tally struct {
	mu     sync.Mutex
	closed bool
	counts
}

type counts struct {
	used                 hold.Amounts
	outOfMemory, ofLimit bool // see hold.Facts
}

// StepAside moves this process to a cgroup of its own in the one that it is in, if that
// has been delegated to it and it is alone there. Then that one can hand controllers
// on. It is for the command corral, which starts nothing before, and it is no error if
// there is nothing to do, or nothing to be done.
//
// What it leaves is an empty cgroup in one that belongs to it alone: systemd removes
// that with the unit.
func StepAside() error {
	path, err := cgroup.Own()
	if err != nil {
		return nil // whoever asks for limits is told
	}
	own, err := cgroup.Open(path)
	if err != nil {
		return nil
	}
	defer own.Close()
	if own.IsRoot() || !own.Delegated() {
		return nil
	}
	pids, err := own.PIDs()
	if err != nil || len(pids) != 1 || pids[0] != os.Getpid() {
		return nil
	}
	return cgroup.Enter(filepath.Join(path, "main.corral-"+strconv.Itoa(os.Getpid())))
}
