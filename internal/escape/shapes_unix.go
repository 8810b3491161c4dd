//go:build unix

package escape

import (
	"fmt"
	"os"
	"strconv"
	"syscall"
)

const (
	ignorers = 20
	width    = 300
)

var _ = add(Child{
	Name:    "ignore-term",
	Doc:     `20 of "ignorer", which ignore SIGHUP, SIGINT and SIGTERM; their parent is gone`,
	Members: 1 + ignorers,
}, parts{"leader": func(p *process) {
	p.ignorers(ignorers)
	p.lead()
}})

var _ = add(Child{
	Name:    "setsid",
	Doc:     `a "session", which leads a session of its own`,
	Members: 2,
}, parts{"leader": func(p *process) {
	p.leaf("session", &os.ProcAttr{Sys: &syscall.SysProcAttr{Setsid: true}})
	p.lead()
}})

var _ = add(Child{
	Name:    "daemon",
	Doc:     `a "daemon" made in the classic way: fork, setsid, fork, chdir /; its parent is gone`,
	Members: 2,
}, parts{
	"leader": func(p *process) {
		p.waitFor(p.member("daemon-parent", &syscall.SysProcAttr{Setsid: true}, nil))
		p.lead()
	},
	"daemon-parent": func(p *process) { p.leaf("daemon", &os.ProcAttr{Dir: "/"}) },
})

var _ = add(Child{
	Name:    "hold-stdout",
	Doc:     `a "holder", which keeps the leader's standard output open`,
	Members: 2,
}, parts{"leader": func(p *process) {
	p.leaf("holder", &os.ProcAttr{Files: []*os.File{nil, os.Stdout, nil, p.oracle}})
	p.lead()
}})

var _ = add(Child{
	Name: "close-fds",
	Doc: `a "closer", which has closed all its descriptors, so that end-of-file on a pipe ` +
		`does not tell whether it is gone`,
	Members: 2,
}, parts{
	"leader": func(p *process) {
		p.memberReady("closer", nil)
		p.lead()
	},
	"closer": func(p *process) {
		p.named(os.Getpid(), "closer")
		p.becomeSleep()
	},
})

var _ = add(Child{
	Name: "kill-group",
	Doc: `a "child", two of "ignorer", which ignore SIGHUP, SIGINT and SIGTERM and whose parent is gone, ` +
		`and a "killer", which sends SIGTERM to the process group of them all when it is released or gets one ` +
		`of these signals itself; ` +
		`the leader dies of that. The leader has made a group of its own, if it did not lead one`,
	Members: 5,
}, parts{"leader": leadGroup, "killer": killGroup})

func leadGroup(p *process) {
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
}

func killGroup(p *process) {
	leader, err := strconv.Atoi(p.args[0])
	if err != nil {
		p.fail(err)
	}
	p.waitCue("killer")
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
