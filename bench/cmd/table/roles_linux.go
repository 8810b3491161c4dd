package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"

	"github.com/corral-run/corral"
	"github.com/corral-run/corral/bench/internal/peer"
	"github.com/corral-run/corral/bench/internal/slowinit"
)

// An owner that is measured is this program once more, in one of these roles, so
// that rows do not weigh on one another. Its argument is an owner, as JSON.
var roles = map[string]func(arg string) error{
	"owner:turns": as(runTurns),
	"owner:many":  as(runMany),
	"owner:hold":  as(runHold),
}

// owner is what an owner does while it is measured.
type owner struct {
	Containment corral.Containment // empty is os/exec
	Rounds      int
	Runs        int // at once
	Members     int // of each run
	Heap        int // bytes
	Goroutines  int
	HelperPath  string
	Program     string // empty is this one
	ByOthers    bool   // os/exec starts it, after corral.Contain
}

func as(f func(owner) error) func(string) error {
	return func(arg string) error {
		var o owner
		if err := json.Unmarshal([]byte(arg), &o); err != nil {
			return err
		}
		return f(o)
	}
}

// command is this program in a role.
func (o owner) command(role string) (*exec.Cmd, error) {
	arg, err := json.Marshal(o)
	if err != nil {
		return nil, err
	}
	path := o.Program
	if path == "" {
		if path, err = os.Executable(); err != nil {
			return nil, err
		}
	}
	cmd := exec.Command(path, role, string(arg))
	cmd.Stderr = os.Stderr
	return cmd, nil
}

// ask runs this program in a role that writes its result as JSON.
func (o owner) ask(role string, result any) error {
	cmd, err := o.command(role)
	if err != nil {
		return err
	}
	out, err := cmd.Output()
	if err != nil {
		return err
	}
	return json.Unmarshal(out, result)
}

// slowOwner returns this program under a name by which its initialisation takes
// time.
func slowOwner(dir string) (string, error) {
	path := filepath.Join(dir, "table"+slowinit.Name)
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	self, err := os.Executable()
	if err != nil {
		return "", err
	}
	return path, peer.Install(self, path)
}

// runner is what exec.Cmd and corral.Cmd have in common.
type runner interface {
	Start() error
	Wait() error
}

// contained is a command that fails with less than the containment.
func contained(cont corral.Containment, name string, arg ...string) *corral.Cmd {
	c := corral.Command(name, arg...)
	c.Containment, c.Require = cont, cont
	return c
}

func startWait(c runner) error {
	if err := c.Start(); err != nil {
		return err
	}
	return c.Wait()
}

// runTurns writes the pairs of /bin/true through os/exec and through the library.
func runTurns(o owner) error {
	corral.HelperPath = o.HelperPath
	heap := bytes.Repeat([]byte{1}, o.Heap)
	parked := make(chan struct{})
	for range o.Goroutines {
		go func() { <-parked }()
	}
	pairs, err := turns(o.Rounds,
		timed(func() error { return atOnce(o.Runs, func() runner { return exec.Command("/bin/true") }) }),
		timed(func() error { return atOnce(o.Runs, func() runner { return o.corralled("/bin/true") }) }))
	if err != nil {
		return err
	}
	runtime.KeepAlive(heap)
	close(parked)
	return json.NewEncoder(os.Stdout).Encode(pairs)
}

// corralled is a command that Corral contains.
func (o owner) corralled(name string) runner {
	if !o.ByOthers {
		return contained(o.Containment, name)
	}
	c := exec.Command(name)
	if err := corral.Contain(c, corral.ContainOptions{Containment: o.Containment, Require: o.Containment}); err != nil {
		c.Err = err // which Start returns
	}
	return c
}

// atOnce runs n commands at once and returns when the last one has ended.
func atOnce(n int, command func() runner) error {
	if n == 1 {
		return startWait(command())
	}
	errs := make(chan error, n)
	for range n {
		go func() { errs <- startWait(command()) }()
	}
	var err error
	for range n {
		err = errors.Join(err, <-errs)
	}
	return err
}

// usage is what an owner takes.
type usage struct{ Memory, Descriptors, Goroutines float64 }

// used returns what this process takes now.
func used() (usage, error) {
	debug.FreeOSMemory()
	// proc_pid_statm(5): the second field is resident pages.
	b, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return usage{}, err
	}
	pages, err := strconv.Atoi(strings.Fields(string(b))[1])
	if err != nil {
		return usage{}, err
	}
	fds, err := os.ReadDir("/proc/self/fd")
	return usage{float64(pages * os.Getpagesize()), float64(len(fds)), float64(runtime.NumGoroutine())}, err
}

// runMany writes what one of many runs takes that go on at the same time. Nobody
// has called Wait yet: an owner may call it from wherever it likes.
func runMany(o owner) error {
	life, end, err := os.Pipe()
	if err != nil {
		return err
	}
	defer life.Close()
	defer end.Close() // if this fails, the commands end with it
	command := func(stdin *os.File) runner {
		if o.Containment == "" {
			c := exec.Command("cat")
			c.Stdin = stdin
			return c
		}
		c := contained(o.Containment, "cat")
		c.Stdin = stdin
		return c
	}
	null, err := os.Open(os.DevNull)
	if err != nil {
		return err
	}
	defer null.Close()
	// Before that, what an owner has once, such as a guard, which is no run's.
	if err := startWait(command(null)); err != nil {
		return err
	}
	before, err := used()
	if err != nil {
		return err
	}
	cmds := make([]runner, o.Runs)
	for i := range cmds {
		cmds[i] = command(life)
		if err := cmds[i].Start(); err != nil {
			return fmt.Errorf("run %d: %w", i+1, err)
		}
	}
	after, err := used()
	if err != nil {
		return err
	}
	end.Close()
	for _, c := range cmds {
		if err := c.Wait(); err != nil {
			return err
		}
	}
	n := float64(o.Runs)
	return json.NewEncoder(os.Stdout).Encode(usage{
		(after.Memory - before.Memory) / n,
		(after.Descriptors - before.Descriptors) / n,
		(after.Goroutines - before.Goroutines) / n,
	})
}

// runHold starts its runs and lives as long as they do. They have its standard
// input and output.
func runHold(o owner) error {
	argv, _ := treeArgv(o.Members)
	cmds := make([]*corral.Cmd, o.Runs)
	for i := range cmds {
		c := contained(o.Containment, argv[0], argv[1:]...)
		c.Stdin, c.Stdout, c.StopPlan = os.Stdin, os.Stdout, noGrace
		if err := c.Start(); err != nil {
			return err
		}
		cmds[i] = c
	}
	var err error
	for _, c := range cmds {
		err = errors.Join(err, c.Wait())
	}
	return err
}

// hold starts an owner in that role, and returns when all members are there.
func (o owner) hold() (*exec.Cmd, *trees, error) {
	cmd, err := o.command("owner:hold")
	if err != nil {
		return nil, nil, err
	}
	_, lines := treeArgv(o.Members)
	t, err := grow(lines*o.Runs, func(stdin, stdout *os.File) error {
		cmd.Stdin, cmd.Stdout = stdin, stdout
		return cmd.Start()
	})
	if err != nil && cmd.Process != nil {
		cmd.Wait() // its standard input has ended
	}
	return cmd, t, err
}
