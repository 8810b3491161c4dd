package wire

import "github.com/corral-run/corral/internal/stop"

// RunnerSpec is what a runner cannot see of itself. It is an argument: standard streams
// and environment are the command's.
type RunnerSpec struct {
	// Of the leader's SysProcAttr.
	CommandLine string
	HideWindow  bool
	Flags       uint32
	Handles     []uintptr // which the runner inherits, too, and so has by the same numbers

	// Held are the variables of the command's environment that have another name in
	// the runner's, and Set the entries that are not the command's.
	Held, Set            []string
	Environ              []string // what the owner's side reads of its environment
	Containment, Require string
	Plan                 stop.Plan
}

func (s *RunnerSpec) fields(c *coder) {
	c.text(&s.CommandLine)
	c.flag(&s.HideWindow)
	integer(c, &s.Flags)
	list(c, &s.Handles, func(h *uintptr) { integer(c, h) })
	list(c, &s.Held, c.text)
	list(c, &s.Set, c.text)
	list(c, &s.Environ, c.text)
	c.text(&s.Containment)
	c.text(&s.Require)
	c.plan(&s.Plan)
}
