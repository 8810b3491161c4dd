package registry

import (
	"errors"
	"os"

	"github.com/corral-run/corral/internal/proctree"
)

// Owner identifies the process that a run belongs to.
type Owner struct {
	PID   int    `json:"pid"`
	Start uint64 `json:"start"`
	// Boot is what the kernel calls the time since it was started; empty where it has
	// no word for that, and start times are unique for longer.
	Boot string `json:"boot,omitempty"`
	// Space are the name spaces in which PID and Start mean something.
	Space string `json:"space,omitempty"`
	// Host is there because a directory may be on a file system that others share.
	Host string `json:"host,omitempty"`
}

// Self returns the calling process.
func Self() (Owner, error) {
	id, err := proctree.Identify(os.Getpid())
	if err != nil {
		return Owner{}, err
	}
	o := here()
	o.PID, o.Start = id.PID, id.Start
	return o, nil
}

// here is an Owner without the process: what those that can be seen from here have in
// common.
func here() Owner {
	host, _ := os.Hostname() // without it, it is no help
	return Owner{Boot: bootID(), Space: space(), Host: host}
}

// Look returns whether the owner lives.
func (o Owner) Look() State { return o.judge(here(), proctree.Brief) }

// judge is Look from a place, with a look at the process table.
func (o Owner) judge(from Owner, look func(pid int) (proctree.Process, error)) State {
	if s := o.sameTable(from); s != Live {
		return s
	}
	return alive(proctree.ID{PID: o.PID, Start: o.Start}, look)
}

// sameTable returns Live if the process table of a place has the owner's PID and start
// time, if it lives; Stale if it has been lost with its kernel.
func (o Owner) sameTable(from Owner) State {
	switch {
	case o.Boot == "" != (from.Boot == ""):
		return Unseen // the one or the other could not read it
	case o.Boot != from.Boot && o.Host == from.Host:
		return Stale
	case o.Boot != from.Boot, o.Space != from.Space:
		return Unseen
	}
	return Live
}

func alive(id proctree.ID, look func(pid int) (proctree.Process, error)) State {
	row, err := look(id.PID)
	switch {
	case errors.Is(err, proctree.ErrGone):
		return Stale
	case err != nil:
		return Unseen
	case row.ID != id, !row.Alive():
		return Stale
	}
	return Live
}

// KeptAlive returns those of the kept that live, and Unseen if that cannot be told.
func (e *Entry) KeptAlive() ([]Process, State) {
	if s := e.Owner.sameTable(here()); s != Live {
		return nil, s
	}
	var living []Process
	state := Stale
	for _, p := range e.Kept {
		switch alive(p.ID(), proctree.Brief) {
		case Live:
			living, state = append(living, p), Live
		case Unseen:
			if state == Stale {
				state = Unseen
			}
		}
	}
	return living, state
}
