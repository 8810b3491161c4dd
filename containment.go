package corral

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"

	"github.com/corral-run/corral/internal/helper"
	"github.com/corral-run/corral/internal/hold"
)

// Containment names a kernel mechanism that knows the members of a run. The
// package documentation says what each one promises.
type Containment string

const (
	// Auto is the strongest that works here. The environment variable CORRAL_AUTO
	// of the owner lowers it, to test under the containment that others will get:
	// with job, cgroup, keeper or group, Auto takes that one or a weaker one, and
	// the Report lists those passed over. Require holds all the same. Any other
	// value is an error of Start.
	Auto Containment = ""

	PIDNS  Containment = "pidns"  // Linux: a PID namespace of its own
	Job    Containment = "job"    // Windows: a job object
	Cgroup Containment = "cgroup" // Linux: a control group, version 2
	Keeper Containment = "keeper" // Unix: a helper process that adopts every orphan, or on macOS follows the members

	// Group is a process group. A member that makes a session or a group of its own
	// escapes.
	//
	// On Linux the leader gets SIGKILL when the owner dies (prctl(2),
	// PR_SET_PDEATHSIG), unless SysProcAttr says otherwise. The kernel ties this to
	// the thread that started the leader (golang/go#27505). So Start uses a thread
	// of its own until the leader has ended, and the leader does not inherit what
	// the caller may have changed of its thread. Run, Output and CombinedOutput
	// keep the caller's.
	Group Containment = "group"
)

// HelperPath, if not empty, is the program that is started where a keeper or guard
// cannot be a fork of the owner. It must import this package, of the same version. Set
// it before the first run. PATH is not searched for it. If it is not there, Start
// returns an error, also where it would not be needed.
//
// On Linux (amd64, arm64) it is needed where the owner has more than 16 MiB of its own
// in memory, under pidns, when a guard clears what an owner has left, for Contain, and
// for Limits that each process has for itself. So a wrong one may be noticed late.
//
// The default is the running program. That is right unless it is not a Go program,
// such as one that has loaded this package as a shared library.
//
// With the default, package init functions of the running program may run again:
// once for the guard of all runs under cgroup, once for each command of Contain, and
// once for every run under a keeper. On Linux (amd64, arm64) a keeper begins before
// them. They are those that run before this package's: of packages that do not import
// this one, and that Go initialises before it, by the order of import paths. The
// functions of package main do not run, nor do those of any other package that imports
// this one. Each such run takes as much longer as they take, and what they do is done
// again: a file is written once more. Where that matters, name the command corral of
// the same version, which has next to nothing to initialise:
//
//	corral.HelperPath = "/usr/local/bin/corral"
var HelperPath string

// byStrength is the order for Auto, fallbacks and Require: the strongest first.
var byStrength = []Containment{PIDNS, Job, Cgroup, Keeper, Group}

// mechanism is one rung of an operating system's ladder.
type mechanism struct {
	name Containment
	// open returns a containment for one run, or the reason why there is none, here
	// or for this command.
	open func(hold.Request) (hold.Containment, error)
}

// choice is the containment that a run got.
type choice struct {
	hold.Containment
	name     Containment
	declined []Declined
	lacking  string       // what it has to do without, for Report.BestEffort
	limiter  hold.Limiter // nil if it has no limits
}

// choose takes the first rung that works, from the wanted one down to the weakest
// that will do. It returns the reasons why those above it did not work.
func choose(wanted, weakest Containment, req hold.Request, limits Limits) (*choice, error) {
	from, err := strength(wanted)
	if err != nil {
		return nil, err
	}
	to, err := strength(weakest)
	if err != nil {
		return nil, err
	}
	if weakest == Auto {
		to = len(byStrength)
	}
	auto, first := 0, Auto
	if wanted == Auto {
		if auto, first, err = autoFrom(); err != nil {
			return nil, err
		}
	}
	if wanted != Auto && to < from {
		return nil, fmt.Errorf("corral: containment %s is wanted, but %s is required, which is stronger", wanted, weakest)
	}
	var declined []Declined
	here := hold.Ready()
	for _, m := range ladder {
		rank, _ := strength(m.name)
		if rank < from || rank > to || (m.name == PIDNS && wanted == Auto && weakest != PIDNS) {
			continue
		}
		if rank < auto {
			declined = append(declined, Declined{m.name, fmt.Sprintf("%s=%s in the environment of the owner", autoVariable, first)})
			continue
		}
		var cont hold.Containment
		err := here
		if err == nil {
			err = limits.unfit(m.name)
		}
		if err == nil {
			cont, err = m.open(req)
		}
		if err == nil {
			limiter, _ := cont.(hold.Limiter)
			return &choice{Containment: cont, name: m.name, declined: declined, limiter: limiter}, nil
		}
		if missing := (*helper.PathError)(nil); errors.As(err, &missing) {
			return nil, missing
		}
		if cause := hold.TableUsable(); cause != nil {
			err = cause // whatever it was that could not be read
		}
		declined = append(declined, Declined{Containment: m.name, Reason: err.Error()})
	}
	return nil, &ContainmentError{Wanted: wanted, Required: weakest, Declined: declined}
}

// strength is c's place in byStrength; Auto's is the first.
func strength(c Containment) (int, error) {
	if c == Auto {
		return 0, nil
	}
	if i := slices.Index(byStrength, c); i >= 0 {
		return i, nil
	}
	return 0, fmt.Errorf("corral: unknown containment %q", string(c))
}

// autoVariable names, in the owner's environment, the containment at which Auto
// starts.
const autoVariable = "CORRAL_AUTO"

// autoFrom returns where Auto starts, and its rank. The variable never makes Auto
// stronger: pidns must be asked for where the command is.
func autoFrom() (rank int, first Containment, err error) {
	first = Containment(os.Getenv(autoVariable))
	rank, err = strength(first)
	if err != nil || first == PIDNS {
		return 0, Auto, fmt.Errorf("corral: %s=%s in the environment: it must be one of job, cgroup, keeper, group", autoVariable, strconv.Quote(string(first)))
	}
	return rank, first, nil
}

// adopt makes the owner adopt orphans for the containment. If it may not, or would
// not see them, the containment does without, and the Report says so.
func (c *choice) adopt() error {
	adopting, err := hold.Adopt(c.Containment)
	switch {
	case err == errors.ErrUnsupported: // not what a kernel may say
		return fmt.Errorf("corral: AdoptOrphans: %w", err)
	case err != nil:
		c.lacking = fmt.Sprintf("what the %s containment loses is not adopted: %v", c.name, err)
	default:
		c.Containment = adopting
	}
	return nil
}
