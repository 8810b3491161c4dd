package escape

import (
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"sync/atomic"
	"syscall"

	"github.com/corral-run/corral/internal/proctree"
	"golang.org/x/sys/unix"
)

// The main thread of the suspended is in a sleep that only SIGKILL ends. It looks
// like a sleep that not even SIGKILL ends (state D). The borrower shares the memory
// of the suspended, but does not end with it.
var _ = add(Child{
	Name: "vfork",
	Doc: `a "suspended", which ignores SIGHUP, SIGINT and SIGTERM, and whose main thread is in vfork(2): ` +
		`its child, a "borrower", neither executes anything nor ends, and blocks all signals`,
	Members:    3,
	mainThread: []string{"suspended"},
}, parts{
	"leader": func(p *process) {
		p.member("suspended", nil, nil)
		p.lead()
	},
	"suspended": suspend,
})

func suspend(p *process) {
	p.checkMainThread()
	p.notify()
	// The main thread keeps its P, and does not stop for the garbage collector.
	runtime.GOMAXPROCS(2)
	debug.SetGCPercent(-1)
	l := &loan{alarm: newAlarm(p.deadline, syscall.SIGKILL)}
	started := make(chan struct{})
	go func() {
		close(started)
		// Not time.Sleep: the timer might belong to the P of the main thread, and
		// whoever sees to such timers might sleep himself, for a minute (sysmon in
		// the runtime's proc.go).
		for !l.isMade() {
			unix.Nanosleep(&unix.Timespec{Nsec: 1e6}, nil)
		}
		if l.errno != 0 {
			p.fail(os.NewSyscallError(l.call, l.errno))
		}
		table, err := proctree.Snapshot()
		if err != nil {
			p.fail(err)
		}
		children := proctree.Children(table, os.Getpid())
		if len(children) != 1 {
			p.fail(fmt.Errorf("%d children, want 1", len(children)))
		}
		p.named(children[0].PID, "borrower")
		p.named(os.Getpid(), "suspended")
		p.stay()
	}()
	<-started
	blockAll(p) // a handler of Go's must not run in the borrower
	borrow(l)
}

// loan is in the memory that suspended and borrower share.
type loan struct {
	alarm *alarm
	made  uint32 // the fields below have been set
	call  string
	errno syscall.Errno
}

func (l *loan) isMade() bool { return atomic.LoadUint32(&l.made) != 0 }

// borrow makes the borrower and does not return in either process, unless it
// sets an error.
//
// The two share the stack too, and the runtime knows of one thread only. So the
// borrower must not leave this function, nor run other Go code that may grow the
// stack, wait, or is watched by the race detector. When the borrower has ended, the
// suspended finds what the borrower has written on the stack: the return addresses
// of the system call. They are those in the loop, as that is the same call from the
// same frame. So the suspended goes on in the loop.
//
//go:norace
//go:nosplit
func borrow(l *loan) {
	pid, _, errno := syscall.RawSyscall6(unix.SYS_CLONE, unix.CLONE_VM|unix.CLONE_VFORK|uintptr(unix.SIGCHLD), 0, 0, 0, 0, 0)
	switch {
	case errno != 0:
		l.call, l.errno = "clone", errno
	case pid == 0:
		l.call, l.errno = l.alarm.set()
	}
	l.made = 1
	for {
		// Of nothing, for ever.
		syscall.RawSyscall6(unix.SYS_PPOLL, 0, 0, 0, 0, 0, 0)
	}
}
