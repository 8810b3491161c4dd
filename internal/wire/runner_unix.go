//go:build linux || darwin || freebsd

package wire

import (
	"syscall"

	"github.com/corral-run/corral/internal/stop"
)

// RunnerSpec is what a runner cannot see of itself. It is an argument: descriptors
// have the numbers that the command is to see, and the environment is the
// command's.
type RunnerSpec struct {
	Attr *syscall.SysProcAttr // the leader's
	Dir  string               // within Attr.Chroot
	// Held are the variables of the command's environment that have another name in
	// the runner's, and Set the entries that are not the command's.
	Held, Set            []string
	Environ              []string // what the owner's side reads of its environment
	Ignored              []syscall.Signal
	Containment, Require string
	Plan                 stop.Plan
}

func (s *RunnerSpec) fields(c *coder) {
	option(c, &s.Attr, func(a *syscall.SysProcAttr) { attributes(c, a) })
	c.text(&s.Dir)
	list(c, &s.Held, c.text)
	list(c, &s.Set, c.text)
	list(c, &s.Environ, c.text)
	list(c, &s.Ignored, func(sig *syscall.Signal) { integer(c, sig) })
	c.text(&s.Containment)
	c.text(&s.Require)
	c.plan(&s.Plan)
}
