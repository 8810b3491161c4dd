//go:build unix

package escape

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

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

// The signals by which a process is asked to end.
var polite = []os.Signal{syscall.SIGHUP, syscall.SIGINT, syscall.SIGTERM}

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
	attr.Files = append([]*os.File{nil, nil, nil, p.report, p.oracle, p.control}, extra...)
	proc, err := os.StartProcess(exe, append([]string{exe}, child.command()...), attr)
	if err != nil {
		p.fail(err)
	}
	return proc
}

// settled is member for one that gets a pipe as its last descriptor, and returns
// when it has closed that, or has ended.
func (p *process) settled(role string, sys *syscall.SysProcAttr) *os.Process {
	open, theirs, err := os.Pipe()
	if err != nil {
		p.fail(err)
	}
	proc := p.member(role, sys, nil, theirs)
	theirs.Close()
	if _, err := open.Read(make([]byte, 1)); err == nil {
		p.fail(fmt.Errorf("the %s has written", role))
	}
	open.Close()
	return proc
}

// leaf starts and reports a process of the tree that only stays. It is
// sleep(1), as hundreds of Go programs take many seconds to start under the
// race detector. attr may be nil; its Files default to the oracle alone.
func (p *process) leaf(role string, attr *os.ProcAttr) *os.Process {
	proc := p.startSleep(attr)
	p.named(proc.Pid, role)
	return proc
}

// startSleep is leaf without the report.
func (p *process) startSleep(attr *os.ProcAttr) *os.Process {
	if attr == nil {
		attr = &os.ProcAttr{}
	}
	if attr.Files == nil {
		attr.Files = []*os.File{nil, nil, nil, p.oracle}
	}
	sleep, argv, err := p.sleep()
	if err != nil {
		p.fail(err)
	}
	proc, err := os.StartProcess(sleep, argv, attr)
	if err != nil {
		p.fail(err)
	}
	return proc
}

// becomeSleep turns the process into a leaf with the descriptors keep and no
// others: Go's runtime does not live without its own.
func (p *process) becomeSleep(keep ...int) {
	sleep, argv, err := p.sleep()
	if err != nil {
		p.fail(err)
	}
	for fd := range 1024 {
		syscall.CloseOnExec(fd)
	}
	for _, fd := range keep {
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_SETFD, 0); err != nil {
			p.fail(os.NewSyscallError("fcntl", err))
		}
	}
	p.fail(syscall.Exec(sleep, argv, os.Environ()))
}

// ignorers starts leaves that ignore the polite signals. Their parent is a
// process which ends, as one that has ignored a signal cannot be sure to get its
// default effect back (signal.Reset does not do it after signal.Ignore).
func (p *process) ignorers(n int) {
	p.waitFor(p.member("ignorer-parent", nil, []string{strconv.Itoa(n)}))
}

func startIgnorers(p *process) {
	n, err := strconv.Atoi(p.args[0])
	if err != nil {
		p.fail(err)
	}
	signal.Ignore(polite...) // inherited, through exec too
	for range n {
		p.leaf("ignorer", nil)
	}
}

// sleep returns the command that stays until the deadline.
func (p *process) sleep() (path string, argv []string, err error) {
	path, err = exec.LookPath("sleep")
	seconds := max(1, int(time.Until(p.deadline).Seconds()))
	return path, []string{"sleep", strconv.Itoa(seconds)}, err
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

func pgid() int {
	own, _ := unix.Getpgid(0)
	return own
}

func isBrokenPipe(err error) bool { return errors.Is(err, syscall.EPIPE) }

func closeOnExec(fd int) { syscall.CloseOnExec(fd) }
