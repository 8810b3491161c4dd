//go:build unix

package escape

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"syscall"

	"github.com/corral-run/corral/internal/proctree"
)

const (
	ignorers = 20
	width    = 300
	// Both take some seconds, after which the last one stays.
	links    = 3000
	respawns = 50
)

func init() {
	add(Child{
		Name:    "plain",
		Doc:     `one "child", which does what it is told`,
		Members: 2,
	}, func(p *process) {
		p.leaf("child", nil)
		p.lead()
	})
	add(Child{
		Name:    "ignore-term",
		Doc:     `20 of "ignorer", which ignore SIGHUP, SIGINT and SIGTERM; their parent is gone`,
		Members: 1 + ignorers,
	}, func(p *process) {
		p.ignorers(ignorers)
		p.lead()
	})
	addMember("ignorer-parent", startIgnorers)
	add(Child{
		Name:    "setsid",
		Doc:     `a "session", which leads a session of its own`,
		Members: 2,
	}, func(p *process) {
		p.leaf("session", &os.ProcAttr{Sys: &syscall.SysProcAttr{Setsid: true}})
		p.lead()
	})
	add(Child{
		Name:    "daemon",
		Doc:     `a "daemon" made in the classic way: fork, setsid, fork, chdir /; its parent is gone`,
		Members: 2,
	}, func(p *process) {
		p.waitFor(p.member("daemon-parent", &syscall.SysProcAttr{Setsid: true}, nil))
		p.lead()
	})
	addMember("daemon-parent", func(p *process) {
		p.leaf("daemon", &os.ProcAttr{Dir: "/"})
	})
	add(Child{
		Name:    "hold-stdout",
		Doc:     `a "holder", which keeps the leader's standard output open`,
		Members: 2,
	}, func(p *process) {
		p.leaf("holder", &os.ProcAttr{Files: []*os.File{nil, os.Stdout, nil, p.oracle}})
		p.lead()
	})
	add(Child{
		Name: "close-fds",
		Doc: `a "closer", which has closed all its descriptors, so that end-of-file on a pipe ` +
			`does not tell whether it is gone`,
		Members: 2,
	}, func(p *process) {
		p.settled("closer", nil)
		p.lead()
	})
	addMember("closer", func(p *process) {
		p.named(os.Getpid(), "closer")
		p.becomeSleep()
	})
	add(Child{
		Name:    "chain",
		Doc:     `a "link", which soon starts the next one and ends, and so on`,
		Members: 2,
	}, func(p *process) {
		p.member("link", nil, []string{"1"})
		p.lead()
	})
	addMember("link", link)
	add(Child{
		Name: "respawn",
		Doc: `a "respawner", which ignores SIGHUP, SIGINT and SIGTERM, and a "worker", which does not; ` +
			`when the worker ends the respawner starts a new one`,
		Members: 3,
	}, func(p *process) {
		p.member("respawner", nil, nil)
		p.lead()
	})
	addMember("respawner", respawner)
	add(Child{
		Name: "kill-group",
		Doc: `a "child", two of "ignorer", which ignore SIGHUP, SIGINT and SIGTERM and whose parent is gone, ` +
			`and a "killer", which sends SIGTERM to the process group of them all when it is released or gets one ` +
			`of these signals itself; ` +
			`the leader dies of that. The leader has made a group of its own, if it did not lead one`,
		Members: 5,
	}, func(p *process) {
		if pgid() != os.Getpid() {
			if err := syscall.Setpgid(0, 0); err != nil {
				p.fail(os.NewSyscallError("setpgid", err))
			}
		}
		p.leaf("child", nil)
		p.ignorers(2)
		p.member("killer", nil, []string{strconv.Itoa(os.Getpid())})
		p.named(os.Getpid(), "leader")
		p.stay()
	})
	addMember("killer", killGroup)
	add(Child{
		Name: "kill-parent",
		Doc: `a "parricide", which kills its parent, the leader, with SIGKILL when it is released ` +
			`or gets SIGHUP, SIGINT or SIGTERM`,
		Members: 2,
	}, func(p *process) {
		p.member("parricide", nil, nil)
		p.named(os.Getpid(), "leader")
		p.stay()
	})
	addMember("parricide", func(p *process) { p.killParent("parricide") })
	addMember(killOwner.Name, func(p *process) {
		p.leaf("child", nil)
		p.killParent("leader")
	})
	add(Child{
		Name:    "wide",
		Doc:     `300 of "child", which do what they are told`,
		Members: 1 + width,
	}, func(p *process) {
		for range width {
			p.leaf("child", nil)
		}
		p.lead()
	})
}

var killOwner = Child{
	Name:    "kill-owner",
	Doc:     `a "child"; the leader kills its own parent with SIGKILL when it is released or gets SIGHUP, SIGINT or SIGTERM`,
	Members: 2,
}

// KillOwner is a child whose leader kills its parent: a keeper, or the owner.
// It is for tests in which that parent is not the test process: the leader
// refuses that one, and any that the test process has not started.
func KillOwner() Child { return killOwner }

func link(p *process) {
	n, err := strconv.Atoi(p.args[0])
	if err != nil {
		p.fail(err)
	}
	p.named(os.Getpid(), "link")
	if n == links {
		p.stay()
	}
	p.member("link", nil, []string{strconv.Itoa(n + 1)})
}

func respawner(p *process) {
	p.notify()
	p.named(os.Getpid(), "respawner")
	for range respawns {
		if _, err := p.leaf("worker", nil).Wait(); err != nil {
			p.fail(err)
		}
	}
	p.leaf("worker", nil)
	p.stay()
}

func killGroup(p *process) {
	leader, err := strconv.Atoi(p.args[0])
	if err != nil {
		p.fail(err)
	}
	p.cue("killer")
	switch group := pgid(); {
	case group != leader, group <= 1, group == p.testPGID:
		p.fail(fmt.Errorf("refuse to signal group %d: the leader is %d, the test is in %d", group, leader, p.testPGID))
	default:
		if err := syscall.Kill(-group, syscall.SIGTERM); err != nil {
			p.fail(os.NewSyscallError("kill", err))
		}
	}
	p.stay()
}

// killParent reports the process in its role, and kills its parent on cue.
func (p *process) killParent(role string) {
	pid := os.Getppid()
	parent, err := proctree.Lookup(pid)
	if err != nil {
		p.fail(err)
	}
	// One whose real parent has ended may have a stranger for it, such as the
	// manager of a login session.
	for above := parent; above.PPID != p.testPID; {
		if init, err := proctree.Lookup(1); err == nil && above.PPID <= 1 && len(init.Args) > 0 && init.Args[0] == "corral-keeper" {
			break // a PID namespace that Corral has made for this tree
		}
		if above.PID <= 1 {
			p.fail(fmt.Errorf("refuse to kill process %d, which is no descendant of the test", pid))
		}
		if above, err = proctree.Lookup(above.PPID); err != nil {
			p.fail(err)
		}
	}
	h, err := proctree.Open(parent.ID)
	if err != nil {
		p.fail(err)
	}
	// If it was still the parent after it was opened, it was so all the time.
	if os.Getppid() != pid {
		p.fail(errors.New("the parent has ended already"))
	}
	p.cue(role)
	if err := h.Signal(os.Kill); err != nil && !errors.Is(err, proctree.ErrGone) {
		p.fail(err)
	}
	p.stay()
}
