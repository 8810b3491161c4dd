package escape

import (
	"os"
	"os/signal"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/corral-run/corral/internal/proctree"
)

// These two are for Linux alone: only its limit keeps the promise of Lifetime for a
// process that no longer runs.

var _ = add(Child{
	Name: "stopped",
	Doc: `a "frozen", which has stopped itself by SIGSTOP; it ignores SIGHUP, which the kernel sends ` +
		`together with SIGCONT if its process group gets orphaned (setpgid(2))`,
	Members: 2,
}, parts{
	"leader": func(p *process) {
		p.waitStop(p.member("frozen", nil, nil))
		p.lead()
	},
	"frozen": func(p *process) {
		signal.Ignore(syscall.SIGHUP)
		p.named(os.Getpid(), "frozen")
		if err := syscall.Kill(os.Getpid(), syscall.SIGSTOP); err != nil {
			p.fail(os.NewSyscallError("kill", err))
		}
		p.stay()
	},
})

var _ = add(Child{
	Name:       "dead-leader",
	Doc:        `a "headless": the leader of its threads has exited, which makes it look like a zombie, others live on`,
	Members:    2,
	mainThread: []string{"headless"},
}, parts{
	"leader": func(p *process) {
		p.member("headless", nil, nil)
		p.lead()
	},
	"headless": headless,
})

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
