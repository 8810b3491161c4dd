//go:build unix || windows

package escape

import (
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/corral-run/corral/internal/proctree"
)

// process is a process of a tree, as it sees itself.
type process struct {
	task
	report, oracle, control *os.File
}

// add makes c known, whose leader is to run lead. It is called by init
// functions.
func add(c Child, lead func(*process)) {
	addMember(c.Name, lead)
	children = append(children, c)
	slices.SortFunc(children, func(a, b Child) int { return strings.Compare(a.Name, b.Name) })
	use(c.Name, false)
}

// addMember makes f a role for processes of a tree.
func addMember(name string, f func(*process)) {
	addRole(name, func(t *task) {
		files := Inherited()
		f(&process{*t, files[0], files[1], files[2]})
	})
}

// named reports a process, in the form that Probe reads. Nobody reading any more
// means that the test is over, so there is nothing to stay for.
func (p *process) named(pid int, role string) {
	row, err := proctree.Lookup(pid)
	if err != nil {
		p.fail(err)
	}
	if _, err := fmt.Fprintf(p.report, "%d %d %s\n", row.PID, row.Start, role); err != nil {
		exit(failed)
	}
}

// fail ends the process and lets the test fail.
func (p *process) fail(err error) {
	fmt.Fprintf(p.report, "! %s: %s\n", p.role, strings.ReplaceAll(err.Error(), "\n", " "))
	exit(failed)
}

// notify makes the process survive the polite signals. Unlike the ignored ones,
// which are inherited, they have the default effect on what it starts.
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
	proc, err := os.StartProcess(exe, append([]string{exe}, child.command()...), attr)
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

// lead reports the leader, after all that it had to do, and ends it when it is
// released.
func (p *process) lead() {
	p.named(os.Getpid(), "leader")
	p.released()
	exit(0)
}

// cue reports the process in its role, and returns when it is released or gets
// one of the polite signals. It survives them from then on.
func (p *process) cue(role string) {
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
