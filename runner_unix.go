//go:build linux || darwin || freebsd

package corral

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/corral-run/corral/internal/disposition"
	"github.com/corral-run/corral/internal/helper"
	"github.com/corral-run/corral/internal/pgroup"
	"github.com/corral-run/corral/internal/wire"
)

// This file is another program: the runner, which Contain puts in a command's place.
// It is an owner like any other, with one run, and uses this package as others do.

func init() { helper.RunnerRole(wire.RunnerRole, beRunner) }

// sigRTMin is Linux's first signal that is for programs, SIGRTMIN of glibc. Go's
// runtime does not pass it on.
const sigRTMin = syscall.Signal(34)

// runner is the process's state.
type runner struct {
	spec    *wire.RunnerSpec
	cmd     *Cmd
	files   []*os.File // what the command gets beyond the standard streams, nil where there is none
	high    []*os.File // what it inherits as it is
	signals chan os.Signal
	tty     *os.File      // for the leader to become the foreground, or nil
	group   *pgroup.Group // whom signals are passed on to; nil for the leader alone
}

// beRunner runs the command and ends as it has ended. The arguments are a spec, a
// path, and the command's arguments.
func beRunner(parent int, args []string) {
	spec, err := wire.ParseRunnerSpec(args[0])
	if err != nil {
		runnerFails(err)
	}
	r := &runner{spec: spec, signals: make(chan os.Signal, 1024)}
	r.files, r.high = inheritedFiles()
	r.cmd = &Cmd{
		Path: args[1], Args: args[2:], Env: giveBack(ownEnviron(), spec), Dir: spec.Dir,
		Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, ExtraFiles: r.files,
		SysProcAttr: spec.Attr,
		Containment: Containment(spec.Containment), Require: Containment(spec.Require),
		AdoptOrphans: canAdoptOrphans, killAtOwnersDeath: true, StopPlan: planOf(spec.Plan),
	}
	r.ownEnvironment()
	r.watchParent(parent)
	if err := r.mirror(); err != nil {
		runnerFails(err)
	}
	r.listen()
	if err := r.cmd.Start(); err != nil {
		runnerFails(err)
	}
	if os.Getppid() != parent {
		// It ended before it was watched, and its PID may be another process's by now.
		go r.cmd.Stop(context.Background())
	}
	r.stepAside()
	go r.passOn()
	r.end(r.cmd.Wait())
}

// ownEnviron is the environment with which this process was started. os.Environ
// leaves out an entry whose key, which may be empty, was there before.
func ownEnviron() []string {
	text, err := os.ReadFile("/proc/self/environ")
	if err != nil {
		return os.Environ()
	}
	if len(text) == 0 {
		return nil
	}
	return strings.Split(strings.TrimSuffix(string(text), "\x00"), "\x00")
}

// ownEnvironment gives this process what is meant for it of the environment, and for
// its helpers.
func (r *runner) ownEnvironment() {
	env := os.Environ()
	os.Clearenv()
	for _, entry := range env {
		if name, value, _ := strings.Cut(entry, "="); isLinkers(name) {
			os.Setenv(name, value)
		}
	}
	for _, entry := range r.spec.Environ {
		name, value, _ := strings.Cut(entry, "=")
		os.Setenv(name, value)
	}
}

// inheritedFiles returns the descriptors that the command inherits beyond the
// standard streams. They are close-on-exec from now on, but for high ones, whose
// numbers are beyond the limit (getrlimit(2)). Those cannot be had anew: the command
// inherits them, by way of a helper if it must.
func inheritedFiles() (files, high []*os.File) {
	var limit unix.Rlimit
	err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit)
	for fd := range helper.Inherited() {
		f := os.NewFile(uintptr(fd), "inherited")
		if err == nil && uint64(fd) >= uint64(limit.Cur) {
			high = append(high, f)
			continue
		}
		unix.CloseOnExec(fd)
		for len(files) <= fd-3 {
			files = append(files, nil)
		}
		files[fd-3] = f
	}
	return files, high
}

// watchParent makes the parent's end the end of the run. The parent may stop this
// process, so the kernel is to wake it then.
func (r *runner) watchParent(parent int) {
	r.cmd.Lifelines = []Lifeline{Lifeline("pid:" + strconv.Itoa(parent))}
	wakeAtParentsDeath()
}

// mirror gives the leader a session or a group of its own, and the terminal, if the
// caller has given them to this process.
//
// A group that this process leads has nobody else in it, so signals to the group
// come here, and are passed on to the leader's. A session's leader is hung up with
// its terminal. That is to be the command, so this process gives the terminal up.
func (r *runner) mirror() error {
	pid := os.Getpid()
	attr := r.cmd.SysProcAttr
	sid, err := unix.Getsid(0)
	switch {
	case err == nil && sid == pid:
		attr.Setsid = true
		if fd := terminalOf(sid, r.cmd.ExtraFiles); fd >= 0 {
			if !canGiveUp(fd) {
				return errors.New("the command's controlling terminal is not a pseudo-terminal, and cannot be handed on")
			}
			attr.Setctty, attr.Ctty = true, fd
			return giveUpTerminal(fd)
		}
	case unix.Getpgrp() == pid:
		attr.Setpgid = true
		tty, err := os.OpenFile("/dev/tty", os.O_RDWR|unix.O_NOCTTY, 0)
		if err != nil {
			return nil
		}
		if group, err := unix.IoctlGetInt(int(tty.Fd()), unix.TIOCGPGRP); err == nil && group == pid {
			attr.Foreground, attr.Ctty, r.tty = true, int(tty.Fd()), tty
			return nil
		}
		tty.Close()
	}
	return nil
}

// terminalOf returns the number of a descriptor that is the terminal of the session,
// or -1.
func terminalOf(sid int, extra []*os.File) int {
	for fd := range 3 + len(extra) {
		if fd > 2 && extra[fd-3] == nil {
			continue
		}
		if session, err := unix.IoctlGetInt(fd, tiocgsid); err == nil && session == sid {
			return fd
		}
	}
	return -1
}

// giveUpTerminal makes fd nobody's controlling terminal. The kernel hangs up the
// foreground group, which this process is alone in, and continues it.
func giveUpTerminal(fd int) error {
	hangUp := make(chan os.Signal, 2)
	signal.Notify(hangUp, unix.SIGHUP, unix.SIGCONT)
	defer signal.Stop(hangUp)
	if err := unix.IoctlSetInt(fd, unix.TIOCNOTTY, 0); err != nil {
		return os.NewSyscallError("ioctl TIOCNOTTY", err)
	}
	late := time.After(time.Second) // another process may have been put in the foreground
	for range 2 {
		select {
		case <-hangUp:
		case <-late:
			return nil
		}
	}
	return nil
}

// listen receives signals from now on, but for those that the command is to find
// ignored.
func (r *runner) listen() {
	signal.Notify(r.signals)
	if caught, err := disposition.Catch(sigRTMin); err == nil && caught != nil {
		go func() {
			for number := make([]byte, 1); ; {
				if _, err := caught.Read(number); err != nil {
					return
				}
				r.signals <- syscall.Signal(number[0])
			}
		}()
	}
	for _, sig := range r.spec.Ignored {
		signal.Ignore(sig)
	}
}

// stepAside gives up all that the command has got. If the leader is in the caller's
// group, this process leaves that: a signal to the group reaches the leader then
// without its help. It leaves the session, too: see keeper.containment.spec.
func (r *runner) stepAside() {
	attr := r.cmd.SysProcAttr
	if attr.Setsid || attr.Setpgid {
		if g, err := pgroup.Open(r.cmd.Process.Pid); err == nil {
			r.group = g
		}
	} else {
		unix.Setsid()
	}
	for _, f := range slices.Concat(r.files, r.high, []*os.File{r.tty}) {
		f.Close()
	}
	null, err := unix.Open(os.DevNull, unix.O_RDWR|unix.O_CLOEXEC, 0)
	for fd := range 3 {
		if err == nil {
			unix.Dup2(null, fd)
		} else {
			unix.Close(fd)
		}
	}
	for _, sig := range r.spec.Ignored {
		signal.Notify(r.signals, sig)
	}
}

// passOn passes signals on until the process ends.
func (r *runner) passOn() {
	for sig := range r.signals {
		switch sig {
		case unix.SIGCHLD, unix.SIGURG: // of children, and of Go's runtime
			continue
		}
		if number, ok := sig.(syscall.Signal); ok && r.group != nil {
			r.group.Signal(number)
			continue
		}
		r.cmd.Process.Signal(sig)
	}
}

// end ends this process as the command has ended.
func (r *runner) end(err error) {
	status, ok := syscall.WaitStatus(0), r.cmd.ProcessState != nil
	if ok {
		status, ok = r.cmd.ProcessState.Sys().(syscall.WaitStatus)
	}
	if !ok || err != nil && r.cmd.ProcessState.Success() {
		syscall.Exit(runnerFailed)
	}
	disposition.EndLike(status)
}
