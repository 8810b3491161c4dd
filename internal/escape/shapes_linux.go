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
		child := p.member("frozen", nil, nil)
		var status syscall.WaitStatus
		for {
			_, err := syscall.Wait4(child.Pid, &status, syscall.WUNTRACED, nil)
			if err == syscall.EINTR {
				continue
			}
			if err != nil || !status.Stopped() {
				p.fail(fmt.Errorf("the child has not stopped: status %#x, %w", status, err))
			}
			break
		}
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
	if p := parse(os.Args); p != nil && p.role == "headless" {
		// The main goroutine is on the main thread until init functions have
		// returned, and stays there if it is locked to it.
		runtime.LockOSThread()
	}
}

func headless(p *process) {
	if unix.Gettid() != os.Getpid() {
		p.fail(errors.New("not on the main thread"))
	}
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
		p.named(os.Getpid(), "headless")
		p.stay()
	}()
	// exit(2) ends the thread alone. As a call that may block it lets go of what
	// the scheduler had given to the thread.
	_, _, errno := unix.Syscall(unix.SYS_EXIT, 0, 0, 0)
	p.fail(os.NewSyscallError("exit", errno))
}

// limit makes the kernel kill the process at the deadline, also if it is
// stopped then. The timer does not last beyond an exec (timer_create(2)).
func limit(deadline time.Time) error {
	// struct sigevent, of 64 bytes, with sigev_notify SIGEV_SIGNAL, which is 0.
	event := struct {
		value         uintptr
		signo, notify int32
		_             [48]byte
	}{signo: int32(unix.SIGKILL)}
	var timer int32
	if _, _, errno := unix.Syscall(unix.SYS_TIMER_CREATE, unix.CLOCK_REALTIME,
		uintptr(unsafe.Pointer(&event)), uintptr(unsafe.Pointer(&timer))); errno != 0 {
		return os.NewSyscallError("timer_create", errno)
	}
	const absolute = 1 // TIMER_ABSTIME
	when := unix.ItimerSpec{Value: unix.NsecToTimespec(deadline.UnixNano())}
	if _, _, errno := unix.Syscall6(unix.SYS_TIMER_SETTIME, uintptr(timer), absolute,
		uintptr(unsafe.Pointer(&when)), 0, 0, 0); errno != 0 {
		return os.NewSyscallError("timer_settime", errno)
	}
	return nil
}
