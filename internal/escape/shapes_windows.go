package escape

import (
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"golang.org/x/sys/windows"
)

const width = 100

// flags is one leaf that is created with special flags.
func flags(name, doc, role string, flags uint32) {
	add(Child{Name: name, Doc: fmt.Sprintf(`a %q, %s`, role, doc), Members: 2}, func(p *process) {
		p.leaf(role, &os.ProcAttr{Sys: &syscall.SysProcAttr{CreationFlags: flags}})
		p.lead()
	})
}

func init() {
	flags("new-group", "which leads a console group of its own", "group-leader", windows.CREATE_NEW_PROCESS_GROUP)
	flags("new-console", "which has a console of its own", "settler", windows.CREATE_NEW_CONSOLE)
	flags("detached", "which has no console", "detached", windows.DETACHED_PROCESS)
	add(Child{
		Name:    "grandchildren",
		Doc:     `three of "descendant", each below the one before; the parent of the first is gone`,
		Members: 4,
	}, func(p *process) {
		p.waitFor(p.member("descendant-parent", nil, nil))
		p.lead()
	})
	addMember("descendant-parent", func(p *process) { p.member("descendant", nil, []string{"three"}) })
	addMember("descendant", func(p *process) {
		below := map[string]string{"three": "two", "two": "one"}[p.args[0]]
		if below != "" {
			p.member("descendant", nil, []string{below})
		}
		p.named(os.Getpid(), "descendant")
		p.stay()
	})
	add(Child{
		Name:    "ignore-break",
		Doc:     `five of "ignorer", which ignore Ctrl-C and Ctrl-Break`,
		Members: 6,
	}, func(p *process) {
		for range 5 {
			p.member("ignorer", nil, nil)
		}
		p.lead()
	})
	addMember("ignorer", func(p *process) {
		signal.Ignore(polite...)
		p.named(os.Getpid(), "ignorer")
		p.stay()
	})
	add(Child{
		Name:    "breakaway",
		Doc:     `a "runaway", which was created to be off the job, or, as that is refused, without`,
		Members: 2,
	}, func(p *process) {
		away := &os.ProcAttr{Sys: &syscall.SysProcAttr{CreationFlags: windows.CREATE_BREAKAWAY_FROM_JOB}}
		files := p.files(nil)
		away.Files = files
		exe, err := os.Executable()
		if err != nil {
			p.fail(err)
		}
		runaway := *p
		runaway.role = "runaway"
		if _, err := os.StartProcess(exe, append([]string{exe}, runaway.command()...), away); err != nil {
			p.member("runaway", nil, nil)
		}
		p.lead()
	})
	addMember("runaway", func(p *process) {
		p.named(os.Getpid(), "runaway")
		p.stay()
	})
}
