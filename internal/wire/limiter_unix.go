//go:build linux || darwin || freebsd

package wire

import "syscall"

// LimiterRole is the role of the helper that sets the resource limits of a command
// and then becomes it.
const LimiterRole = "corral-limiter"

// LimiterGo has a helper that is ready execute the command.
const LimiterGo = 'x'

// LimiterSpec is the first message to that helper.
type LimiterSpec struct {
	Path, Dir string
	Args, Env []string
	Attr      *syscall.SysProcAttr // the command's, of which the helper changes root, ids and capabilities
	Ignored   []syscall.Signal
	Limits    []Limit
}

// Limit is the soft and the hard limit of a resource.
type Limit struct {
	Resource int
	Value    int64
}

func (s *LimiterSpec) fields(c *coder) {
	c.text(&s.Path)
	c.text(&s.Dir)
	list(c, &s.Args, c.text)
	list(c, &s.Env, c.text)
	option(c, &s.Attr, func(a *syscall.SysProcAttr) { attributes(c, a) })
	list(c, &s.Ignored, func(sig *syscall.Signal) { integer(c, sig) })
	list(c, &s.Limits, func(l *Limit) {
		integer(c, &l.Resource)
		integer(c, &l.Value)
	})
}

// LimiterEvent is what the helper says: that it is ready, or why it cannot go on. If
// it has done what it is for, it says nothing, and its end of the line is closed.
type LimiterEvent struct {
	Ready bool
	Errno syscall.Errno
	Text  string // what has failed, but for what os/exec would do, too
}

func (e *LimiterEvent) fields(c *coder) {
	c.flag(&e.Ready)
	integer(c, &e.Errno)
	c.text(&e.Text)
}
