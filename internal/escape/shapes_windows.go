package escape

import (
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"golang.org/x/sys/windows"
)

const width = 100

var _ = flagged("new-group", "group-leader", "which leads a console group of its own", windows.CREATE_NEW_PROCESS_GROUP)

var _ = flagged("new-console", "settler", "which has a console of its own", windows.CREATE_NEW_CONSOLE)

var _ = flagged("detached", "detached", "which has no console", windows.DETACHED_PROCESS)

// flagged adds a child with one leaf, which is created with these flags.
func flagged(name, role, which string, flags uint32) Child {
	return add(Child{
		Name:    name,
		Doc:     fmt.Sprintf(`a %q, %s`, role, which),
		Members: 2,
	}, parts{"leader": func(p *process) {
		p.leaf(role, &os.ProcAttr{Sys: &syscall.SysProcAttr{CreationFlags: flags}})
		p.lead()
	}})
}

var _ = add(Child{
	Name:    "grandchildren",
	Doc:     `three of "descendant", each below the one before; the parent of the first is gone`,
	Members: 4,
}, parts{
	"leader": func(p *process) {
		p.waitFor(p.member("descendant-parent", nil, nil))
		p.lead()
	},
	"descendant-parent": func(p *process) { p.member("descendant", nil, []string{"three"}) },
	"descendant": func(p *process) {
		below := map[string]string{"three": "two", "two": "one"}[p.args[0]]
		if below != "" {
			p.member("descendant", nil, []string{below})
		}
		p.named(os.Getpid(), "descendant")
		p.stay()
	},
})

var _ = add(Child{
	Name:    "ignore-break",
	Doc:     `five of "ignorer", which ignore Ctrl-C and Ctrl-Break`,
	Members: 6,
}, parts{
	"leader": func(p *process) {
		for range 5 {
			p.member("ignorer", nil, nil)
		}
		p.lead()
	},
	"ignorer": func(p *process) {
		signal.Ignore(polite...)
		p.named(os.Getpid(), "ignorer")
		p.stay()
	},
})

var _ = add(Child{
	Name:    "breakaway",
	Doc:     `a "runaway", which was created to be off the job, or, as that is refused, without`,
	Members: 2,
}, parts{
	"leader": leadRunaway,
	"runaway": func(p *process) {
		p.named(os.Getpid(), "runaway")
		p.stay()
	},
})

func leadRunaway(p *process) {
	exe, err := os.Executable()
	if err != nil {
		p.fail(err)
	}
	runaway := *p
	runaway.role = "runaway"
	_, err = os.StartProcess(exe, append([]string{exe}, runaway.command()...), &os.ProcAttr{
		Files: p.files(nil),
		Sys:   &syscall.SysProcAttr{CreationFlags: windows.CREATE_BREAKAWAY_FROM_JOB},
	})
	if err != nil {
		p.member("runaway", nil, nil)
	}
	p.lead()
}
