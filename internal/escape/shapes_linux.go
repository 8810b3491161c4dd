package escape

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/corral-run/corral/internal/proctree"
)

// These two are for Linux alone, as only limit keeps the promise of Lifetime
// for a process that no longer runs.

func init() {
	add(Child{
		Name: "stopped",
		Doc: `a "frozen", which has stopped itself by SIGSTOP; it ignores SIGHUP, which the kernel sends ` +
			`together with SIGCONT if its process group gets orphaned (setpgid(2))`,
		Members: 2,
	}, func(p *process) {
		p.waitStop(p.member("frozen", nil, nil))
		p.lead()
	})
	addMember("frozen", func(p *process) {
		signal.Ignore(syscall.SIGHUP)
		p.named(os.Getpid(), "frozen")
		if err := syscall.Kill(os.Getpid(), syscall.SIGSTOP); err != nil {
			p.fail(os.NewSyscallError("kill", err))
		}
		p.stay()
	})
	add(Child{
		Name:    "dead-leader",
		Doc:     `a "headless": the leader of its threads has exited, which makes it look like a zombie, others live on`,
		Members: 2,
	}, func(p *process) {
		p.member("headless", nil, nil)
		p.lead()
	})
	addMember("headless", headless)
	onMainThread("headless")
}

// onMainThread makes a role run on the main thread, if it is called by an init
// function: until these have returned the main goroutine is on the main thread,
// and stays there if it is locked to it.
func onMainThread(role string) {
	if t := parse(os.Args); t != nil && t.role == role {
		runtime.LockOSThread()
	}
}

// checkMainThread fails in a role that does not run on the main thread.
func (p *process) checkMainThread() {
	if unix.Gettid() != os.Getpid() {
		p.fail(errors.New("not on the main thread"))
	}
}

// waitStop waits until a process that this one has started, or traces, stops.
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

func headless(p *process) {
	p.checkMainThread()
	go func() {
		for {
			self, err := proctree.Lookup(os.Getpid())
			if err != nil {
				p.fail(err)
			}
			if self.State == proctree.Zombie {
				break
			}
			time.Sleep(time.Millisecond)
		}
		p.named(os.Getpid(), p.role)
		p.stay()
	}()
	// exit(2) ends the thread alone. As a call that may block it lets go of what
	// the scheduler had given to the thread.
	_, _, errno := unix.Syscall(unix.SYS_EXIT, 0, 0, 0)
	p.fail(os.NewSyscallError("exit", errno))
}

// limit makes the kernel kill the process at the deadline, also if it is
// stopped then. The timer does not last beyond an exec (timer_create(2)), nor is
// it there in a child, and it has no effect on the init of a PID namespace.
func limit(deadline time.Time) error {
	if call, errno := newAlarm(deadline, syscall.SIGKILL).set(); errno != 0 {
		return os.NewSyscallError(call, errno)
	}
	return nil
}

// alarm is a timer which sends a signal to the process that sets it.
type alarm struct {
	// struct sigevent, of 64 bytes, with sigev_notify SIGEV_SIGNAL, which is 0.
	event struct {
		value         uintptr
		signo, notify int32
		_             [48]byte
	}
	timer int32
	when  unix.ItimerSpec
}

func newAlarm(at time.Time, sig syscall.Signal) *alarm {
	a := &alarm{when: unix.ItimerSpec{Value: unix.NsecToTimespec(at.UnixNano())}}
	a.event.signo = int32(sig)
	return a
}

// set returns the name of the system call that has failed, if one has. It is
// fit for borrow.
//
//go:norace
//go:nosplit
func (a *alarm) set() (call string, errno syscall.Errno) {
	if _, _, errno := syscall.RawSyscall6(unix.SYS_TIMER_CREATE, unix.CLOCK_REALTIME,
		uintptr(unsafe.Pointer(&a.event)), uintptr(unsafe.Pointer(&a.timer)), 0, 0, 0); errno != 0 {
		return "timer_create", errno
	}
	const absolute = 1 // TIMER_ABSTIME
	if _, _, errno := syscall.RawSyscall6(unix.SYS_TIMER_SETTIME, uintptr(a.timer), absolute,
		uintptr(unsafe.Pointer(&a.when)), 0, 0, 0); errno != 0 {
		return "timer_settime", errno
	}
	return "", 0
}
