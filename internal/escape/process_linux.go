package escape

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// numbers are the arguments as PIDs.
func (p *process) numbers() (pids []int) {
	for _, arg := range p.args {
		pid, err := strconv.Atoi(arg)
		if err != nil {
			p.fail(err)
		}
		pids = append(pids, pid)
	}
	return pids
}

// willMake reports a directory that the process is going to make, and that the test
// has to remove.
func (p *process) willMake(dir string) {
	if _, err := fmt.Fprintln(p.report, dir); err != nil {
		exit(failed)
	}
}

// prctl fails if the system call does.
func (p *process) prctl(option int, arg uintptr) {
	if err := unix.Prctl(option, arg, 0, 0, 0); err != nil {
		p.fail(os.NewSyscallError("prctl", err))
	}
}

// checkMainThread fails in a role that does not run on the main thread.
func (p *process) checkMainThread() {
	if unix.Gettid() != os.Getpid() {
		p.fail(errors.New("not on the main thread"))
	}
}

// waitStop waits until a process that this one has started or traces has stopped.
func (p *process) waitStop(proc *os.Process) {
	var status syscall.WaitStatus
	for {
		_, err := syscall.Wait4(proc.Pid, &status, syscall.WUNTRACED, nil)
		if err == syscall.EINTR {
			continue
		}
		if err != nil || !status.Stopped() {
			p.fail(fmt.Errorf("the child has not stopped: status %#x, %w", status, err))
		}
		return
	}
}

// blockAll keeps Go's handlers from running in a process that this thread forks.
func blockAll(p *process) (unblock func()) {
	runtime.LockOSThread()
	var all, old unix.Sigset_t
	for i := range all.Val {
		all.Val[i]--
	}
	if err := unix.PthreadSigmask(unix.SIG_SETMASK, &all, &old); err != nil {
		p.fail(os.NewSyscallError("rt_sigprocmask", err))
	}
	return func() {
		unix.PthreadSigmask(unix.SIG_SETMASK, &old, nil)
		runtime.UnlockOSThread()
	}
}

// try starts a process that only sleeps, and hands its PID to then, if that is not
// nil. The process is gone when try returns.
func try(sys *syscall.SysProcAttr, then func(pid int) error) error {
	sleep := exec.Command("sleep", "10")
	sleep.SysProcAttr = sys
	if err := sleep.Start(); err != nil {
		return err
	}
	defer sleep.Wait()
	defer sleep.Process.Kill()
	if then == nil {
		return nil
	}
	return then(sleep.Process.Pid)
}
