// Package escape has the children that a containment has to hold: processes
// which leave their session, outlive their parent, ignore signals, or multiply.
// It is for the tests of this module.
//
// A child is a tree of processes. All but the simplest are the test binary
// itself, started again in a role that Main recognises in its arguments; the
// rest are sleep(1). No process lives longer than Lifetime, and none starts
// others without bound.
//
// A test holds three pipes to the tree, set up by a Probe. On the report pipe
// every process is named as soon as it is in place, which is how the test knows
// that the tree is complete. The oracle pipe is written by nobody: every
// process inherits it, so end-of-file means that all of them are gone,
// including those that nobody has heard of. The control pipe tells the tree to
// go ahead.
package escape

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Lifetime is how long the processes of a Probe, or the one of a Command, may
// live, counted from the call that prepared them. It leaves a test enough time
// to see that one was not stopped.
const Lifetime = 60 * time.Second

// Child is one hostile tree of processes. Its first process, the one that a
// test starts, has the role "leader".
//
// When it is released (see Probe.Release) its leader exits with status 0 and
// leaves the others behind, unless Doc says otherwise.
type Child struct {
	Name string
	// Doc says what the tree is made of, with each role in quotes.
	Doc string
	// Members is how many processes there are when the tree is complete, the
	// leader included.
	Members int

	needs      func() error // see Unavailable; nil if it needs nothing
	args       []string     // the leader's
	mainThread []string     // the roles that need the main thread

	program func(testing.TB, string) string // what to run instead of the test binary, if it is not nil
}

// Unavailable returns why this machine or user cannot have c: it lacks what the
// tree is made of, such as user namespaces. It is nil if c can be started. It finds
// out once, by trying. An unavailable child counts as used (see CheckUsed), so the
// test has to say that it skips it.
func (c Child) Unavailable() error {
	if c.needs == nil {
		return nil
	}
	err := c.needs()
	if err != nil {
		use(c.Name, true)
		err = fmt.Errorf("escape: %s is missing here: %w", c.Name, err)
	}
	return err
}

// All returns the children that there are on this operating system, sorted by
// name. Some may be Unavailable. The child of KillOwner is not among them.
func All() []Child { return slices.Clone(children) }

var children []Child

// Register makes f a role in which Command starts the test binary; args are those
// of Command. Call it before Main. It panics if the name is taken.
func Register(name string, f func(args []string)) {
	addRole(name, func(t *task) { f(t.args) })
	use(name, false)
}

var roles = make(map[string]func(*task))

func addRole(name string, f func(*task)) {
	if roles[name] != nil {
		panic("escape: role " + name + " is registered twice")
	}
	roles[name] = f
}

var (
	usedMu sync.Mutex
	used   = make(map[string]bool)
)

func use(name string, now bool) {
	usedMu.Lock()
	defer usedMu.Unlock()
	used[name] = now
}

// CheckUsed returns an error that names the children for which there was no Probe,
// and the registered roles that nobody asked Command for. A TestMain calls it after
// a successful run. It is nil if the run was of selected tests.
func CheckUsed() error {
	for _, name := range []string{"test.run", "test.skip", "test.list"} {
		if f := flag.Lookup(name); f != nil && f.Value.String() != "" {
			return nil
		}
	}
	if names := unused(); len(names) > 0 {
		return fmt.Errorf("escape: not used by any test: %s", strings.Join(names, ", "))
	}
	return nil
}

// Excuse says that nobody asks for these roles here: the test that would is skipped, and
// has said why.
func Excuse(names ...string) {
	for _, name := range names {
		use(name, true)
	}
}

func unused() []string {
	usedMu.Lock()
	defer usedMu.Unlock()
	var names []string
	for name, now := range used {
		if !now {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// Command returns the path of the test binary and the arguments, without the
// zeroth, that make Main run the role name.
func Command(name string, args ...string) (string, []string) {
	if roles[name] == nil {
		panic("escape: no role " + name)
	}
	use(name, true)
	exe, err := os.Executable()
	if err != nil {
		panic(err)
	}
	t := task{
		role:     name,
		args:     args,
		deadline: time.Now().Add(Lifetime),
		testPID:  os.Getpid(),
		testPGID: pgid(),
	}
	return exe, t.command()
}

// Main runs a role and ends the process, if the process was started for one; else
// it does nothing. A TestMain calls it first.
func Main() {
	t := parse(os.Args)
	if t == nil {
		return
	}
	f := roles[t.role]
	if f == nil {
		fmt.Fprintf(os.Stderr, "escape: no role %s\n", t.role)
		exit(failed)
	}
	if err := limit(t.deadline); err != nil {
		fmt.Fprintf(os.Stderr, "escape: %s: limit the lifetime: %v\n", t.role, err)
		exit(failed)
	}
	f(t)
	exit(0)
}

// The exit statuses of a role that did not do what it should.
const (
	failed  = 70
	expired = 71 // it reached its deadline
)

// exit ends a process in a role. Under the race detector os.Exit takes a second,
// which is too long for a process that is to come and go.
func exit(status int) { syscall.Exit(status) }

// task is what a process in a role is told.
type task struct {
	role     string
	args     []string
	deadline time.Time
	// The test and its process group are never signalled.
	testPID, testPGID int
}

// The first argument of a process in a role is this and the role.
const mark = "escape:"

// command is the arguments for a process in t; parse is its reverse.
func (t *task) command() []string {
	return append([]string{
		mark + t.role,
		strconv.FormatInt(t.deadline.UnixMilli(), 10),
		strconv.Itoa(t.testPID),
		strconv.Itoa(t.testPGID),
	}, t.args...)
}

func parse(argv []string) *task {
	if len(argv) < 5 || !strings.HasPrefix(argv[1], mark) {
		return nil
	}
	deadline, err1 := strconv.ParseInt(argv[2], 10, 64)
	testPID, err2 := strconv.Atoi(argv[3])
	testPGID, err3 := strconv.Atoi(argv[4])
	if errors.Join(err1, err2, err3) != nil {
		return nil
	}
	return &task{
		role:     strings.TrimPrefix(argv[1], mark),
		args:     argv[5:],
		deadline: time.UnixMilli(deadline),
		testPID:  testPID,
		testPGID: testPGID,
	}
}
