//go:build unix || windows

package escape

import (
	"errors"
	"fmt"
	"os"
	"strconv"

	"github.com/corral-run/corral/internal/proctree"
)

var _ = add(Child{
	Name:    "plain",
	Doc:     `one "child", which does what it is told`,
	Members: 2,
}, parts{"leader": func(p *process) {
	p.leaf("child", nil)
	p.lead()
}})

var _ = add(Child{
	Name:    "chain",
	Doc:     `a "link", which soon starts the next one and ends, and so on`,
	Members: 2,
}, parts{
	"leader": func(p *process) {
		// First, as the links would else be two before it is one.
		p.named(os.Getpid(), "leader")
		p.member("link", nil, []string{"1"})
		p.released()
		exit(0)
	},
	"link": link,
})

var _ = add(Child{
	Name: "respawn",
	Doc: `a "respawner", which ignores what asks it to end, and a "worker", which does not; ` +
		`when the worker ends the respawner starts a new one`,
	Members: 3,
}, parts{
	"leader": func(p *process) {
		p.member("respawner", nil, nil)
		p.lead()
	},
	"respawner": respawner,
})

var _ = add(Child{
	Name: "kill-parent",
	Doc: `a "parricide", which kills its parent, the leader, by force when it is released ` +
		`or asked to end`,
	Members: 2,
}, parts{
	"leader": func(p *process) {
		p.member("parricide", nil, nil)
		p.named(os.Getpid(), "leader")
		p.stay()
	},
	"parricide": func(p *process) { p.killParent("parricide") },
})

var _ = add(Child{
	Name:    "wide",
	Doc:     strconv.Itoa(width) + ` of "child", which do what they are told`,
	Members: 1 + width,
}, parts{"leader": func(p *process) {
	for range width {
		p.leaf("child", nil)
	}
	p.lead()
}})

// KillOwner is a child whose leader kills its parent: a keeper, or the owner.
// It is for tests in which that parent is not the test process: the leader
// refuses that one, and any that the test process has not started.
func KillOwner() Child { return killOwner }

var killOwner = define(Child{
	Name:    "kill-owner",
	Doc:     `a "child"; the leader kills its own parent by force when it is released or asked to end`,
	Members: 2,
}, parts{"leader": func(p *process) {
	p.leaf("child", nil)
	p.killParent("leader")
}})

// The chain and the respawner take some seconds, after which the last process
// stays.
const (
	links    = 3000
	respawns = 50
)

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
		if above.PPID <= 1 && inOwnNamespace() {
			break
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
	p.waitCue(role)
	if err := h.Signal(os.Kill); err != nil && !errors.Is(err, proctree.ErrGone) {
		p.fail(err)
	}
	p.stay()
}

// inOwnNamespace reports whether the process is in a PID namespace that Corral has
// made for this tree.
func inOwnNamespace() bool {
	init, err := proctree.Lookup(1)
	return err == nil && len(init.Args) > 0 && init.Args[0] == "corral-keeper"
}
