package corral

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"syscall"
	"time"

	"github.com/corral-run/corral/internal/proctree"
)

// Containment names a kernel mechanism that knows the members of a run. The
// package documentation says what each one promises.
type Containment string

const (
	// Auto is the strongest that works here. The environment variable CORRAL_AUTO of
	// the owner lowers it, for tests under the containment that others will get: with
	// job, cgroup, keeper or group, Auto takes that one or a weaker one, and the Report
	// lists those passed over. Require holds all the same; any other value is an error of
	// Start.
	Auto Containment = ""

	PIDNS  Containment = "pidns"  // Linux: a PID namespace of its own
	Job    Containment = "job"    // Windows: a job object
	Cgroup Containment = "cgroup" // Linux: a control group, version 2
	Keeper Containment = "keeper" // Unix: a helper process that adopts every orphan, or on macOS follows the members

	// Group is a process group: a member that makes a session or a group of its
	// own escapes.
	//
	// On Linux the leader gets SIGKILL when the owner dies (prctl(2),
	// PR_SET_PDEATHSIG), unless SysProcAttr says otherwise. The kernel ties this
	// to the thread that started the leader (golang/go#27505), so Start uses a
	// thread of its own until the leader has ended, and the leader does not
	// inherit what the caller may have changed of its thread; Run, Output and
	// CombinedOutput keep the caller's.
	Group Containment = "group"
)

// byStrength is the order in which Auto, a fallback and Require think.
var byStrength = []Containment{PIDNS, Job, Cgroup, Keeper, Group}

// containment is what one run needs from the kernel. Its methods may be called
// at the same time, but prepare and start come first, and reap and close last.
type containment interface {
	// prepare changes what is about to be started: attributes, files,
	// environment.
	prepare(*exec.Cmd) error

	// start starts the command inside the containment. The leader is not the
	// process that was started where a helper comes between. The error is os/exec's if the command cannot be
	// executed; nothing is running then.
	start(*exec.Cmd) (leader *os.Process, id proctree.ID, err error)

	// exited returns when the leader has ended, without reaping it, or with
	// ctx's error. held says that the leader must not be reaped before the run
	// is empty, because its PID is what pins the containment.
	exited(ctx context.Context) (held bool, err error)

	members

	// reap reaps the leader and returns how it ended, with the error that
	// exec.Cmd.Wait has for it.
	reap() (*os.ProcessState, error)

	// letGo sees to it that all members are left alone from now on, also when the owner
	// ends. Then close follows.
	letGo() error

	// close releases what the containment holds. It stops nothing.
	close() error
}

// members are what a stop is about.
type members interface {
	// signal sends the signals, in this order, to every member, each once. The
	// error is os.ErrProcessDone if there is none, os.ErrPermission if none may be
	// signalled.
	signal(...os.Signal) error

	// kill ends every member, forks in flight included. It may be called again.
	kill() error

	// members returns the live ones, without what takes another look: see
	// describe. A leader that has ended is not one, reaped or not.
	members() ([]proctree.Process, error)

	// empty returns nil when no member is left, or ctx's error. It waits for
	// events, not for intervals to pass.
	empty(ctx context.Context) error
}

// accounting is what a run has used, where the containment knows: by its method
// usage, once it is closed.
type accounting struct {
	user, system time.Duration
	peak         int64 // the most memory that one process has had, in bytes
}

// mechanism is one rung of an operating system's ladder.
type mechanism struct {
	name Containment
	// open returns a containment for one run, or the reason why there is none
	// to be had here or for this command.
	open func(request) (containment, error)
}

// bestEffort has, of the containments that hold less on this system than they do
// elsewhere, what gets away.
var bestEffort = make(map[Containment]string)

// request is what a containment may have to know of a run before it starts.
type request struct {
	attr   *syscall.SysProcAttr // the caller's, or nil
	plan   StopPlan             // for whoever has to stop the run when the owner is gone
	keep   bool                 // leftovers are to be kept,
	detach bool                 // and the run is to go on when the owner is gone
	wait   bool                 // leftovers are waited for, and the leader must not stay a zombie for that long
	log    *slog.Logger
}

// choice is the containment that a run got.
type choice struct {
	containment
	name     Containment
	declined []Declined
	lacking  string // what it has to do without, for Report.BestEffort
}

// choose takes the first rung that works, from the wanted one down to the
// weakest that will do. It returns the reasons of those above it that did not.
func choose(wanted, weakest Containment, req request) (*choice, error) {
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
	here := canWait()
	for _, m := range ladder {
		rank, _ := strength(m.name)
		if rank < from || rank > to || (m.name == PIDNS && wanted == Auto && weakest != PIDNS) {
			continue
		}
		if rank < auto {
			declined = append(declined, Declined{m.name, fmt.Sprintf("%s=%s in the environment of the owner", autoVariable, first)})
			continue
		}
		var cont containment
		err := here
		if err == nil {
			cont, err = m.open(req)
		}
		if err == nil {
			return &choice{containment: cont, name: m.name, declined: declined}, nil
		}
		if missing := (*helperPathError)(nil); errors.As(err, &missing) {
			return nil, missing
		}
		if cause := tableUsable(); cause != nil {
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

// autoVariable names, in the owner's environment, the containment that Auto starts from.
const autoVariable = "CORRAL_AUTO"

// autoFrom returns what Auto starts from, and its rank. It is never more than Auto is
// without: pidns has to be asked for where the command is.
func autoFrom() (rank int, first Containment, err error) {
	first = Containment(os.Getenv(autoVariable))
	rank, err = strength(first)
	if err != nil || first == PIDNS {
		return 0, Auto, fmt.Errorf("corral: %s=%s in the environment: it must be one of job, cgroup, keeper, group", autoVariable, strconv.Quote(string(first)))
	}
	return rank, first, nil
}

// inTurn sends one signal after the other, until one cannot be sent.
func inTurn(sigs []os.Signal, send func(os.Signal) error) error {
	for _, sig := range sigs {
		if err := send(sig); err != nil {
			return err
		}
	}
	return nil
}

func processOf(p proctree.Process) Process {
	command := p.Args
	if len(command) == 0 {
		command = []string{"[" + p.Name + "]"}
	}
	return Process{PID: p.PID, Start: p.Start, Command: command}
}

// describe turns rows that may lack details into what callers see, ordered by
// PID.
func describe(rows []proctree.Process) []Process {
	var members []Process
	for _, row := range detailed(rows) {
		members = append(members, processOf(row))
	}
	slices.SortFunc(members, func(a, b Process) int { return a.PID - b.PID })
	return members
}
