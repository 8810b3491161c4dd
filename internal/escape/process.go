//go:build unix || windows

package escape

import (
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/corral-run/corral/internal/proctree"
	"github.com/corral-run/corral/internal/winetest"
)

// process is a process of a tree, as it sees itself.
type process struct {
	task
	report, oracle, control *os.File
}

// parts say what a process does in each of its roles, the leader's under "leader".
type parts map[string]func(*process)

// add makes c a child of All. It returns c, so that each shape is one statement,
// var _ = add(...), that no list has to repeat.
func add(c Child, p parts) Child {
	children = append(children, define(c, p))
	slices.SortFunc(children, func(a, b Child) int { return strings.Compare(a.Name, b.Name) })
	use(c.Name, false)
	return c
}

// define is add for a child that is not among All.
func define(c Child, p parts) Child {
	for role, play := range p {
		if role == "leader" {
			role = c.Name
		}
		addPart(role, play)
	}
	for _, role := range c.mainThread {
		onMainThread(role)
	}
	return c
}

// addPart makes play the part of a role.
func addPart(role string, play func(*process)) {
	addRole(role, func(t *task) {
		files := Inherited()
		play(&process{*t, files[0], files[1], files[2]})
	})
}

// onMainThread makes a role run on the main thread, if it is called while the
// package is initialised: until then the main goroutine is on the main thread, and
// stays there if it is locked to it.
func onMainThread(role string) {
	if t := parse(os.Args); t != nil && t.role == role {
		runtime.LockOSThread()
	}
}

// named reports a process, in the form that Probe reads. If nobody reads any more
// the test is over, and there is nothing to stay for.
func (p *process) named(pid int, role string) {
	row, err := proctree.Lookup(pid)
	if err != nil {
		p.fail(err)
	}
	if _, err := fmt.Fprintf(p.report, "%d %d %s\n", row.PID, row.Start, role); err != nil {
		exit(failed)
	}
}

// fail ends the process and makes the test fail.
func (p *process) fail(err error) {
	fmt.Fprintf(p.report, "! %s: %s\n", p.role, strings.ReplaceAll(err.Error(), "\n", " "))
	exit(failed)
}

// notify makes the process survive the polite signals. They keep their default
// effect on what it starts, unlike ignored ones, which are inherited.
func (p *process) notify() <-chan os.Signal {
	c := make(chan os.Signal, 1)
	signal.Notify(c, polite...)
	return c
}

// member starts a process of the tree in a role. It reports itself.
func (p *process) member(role string, sys *syscall.SysProcAttr, args []string, extra ...*os.File) *os.Process {
	return p.start(role, args, &os.ProcAttr{Sys: sys}, extra...)
}

// start is member with more to choose. It sets the Files of attr.
func (p *process) start(role string, args []string, attr *os.ProcAttr, extra ...*os.File) *os.Process {
	exe, err := os.Executable()
	if err != nil {
		p.fail(err)
	}
	child := *p
	child.role, child.args = role, args
	attr.Files = p.files(extra)
	var proc *os.Process
	err = winetest.Start(func() error {
		proc, err = os.StartProcess(exe, append([]string{exe}, child.command()...), attr)
		return err
	})
	if err != nil {
		p.fail(err)
	}
	return proc
}

// leaf starts and reports a process of the tree that only stays. attr may be
// nil; its Files default to the oracle alone.
func (p *process) leaf(role string, attr *os.ProcAttr) *os.Process {
	proc := p.startSleep(attr)
	p.named(proc.Pid, role)
	return proc
}

// waitFor reaps a process that is to end with status 0.
func (p *process) waitFor(proc *os.Process) {
	state, err := proc.Wait()
	if err != nil {
		p.fail(err)
	}
	if !state.Success() {
		p.fail(fmt.Errorf("process %d: %v", proc.Pid, state))
	}
}

// lead reports the leader, which has done all that it has to, and ends it when it
// is released.
func (p *process) lead() {
	p.named(os.Getpid(), "leader")
	p.released()
	exit(0)
}

// waitCue reports the process in its role, and returns when it is released or gets
// one of the polite signals. It survives them from then on.
func (p *process) waitCue(role string) {
	asked := p.notify()
	p.named(os.Getpid(), role)
	released := make(chan struct{})
	go func() {
		p.released()
		close(released)
	}()
	select {
	case <-asked:
	case <-released:
	}
}

// released returns when the test calls Probe.Release. One process of a tree
// waits for that.
func (p *process) released() {
	if _, err := p.control.Read(make([]byte, 1)); err != nil {
		exit(failed) // the test is over
	}
}

// stay ends the process at its deadline.
func (p *process) stay() {
	time.Sleep(time.Until(p.deadline))
	exit(expired)
}
