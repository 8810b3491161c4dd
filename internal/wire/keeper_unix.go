//go:build linux || darwin || freebsd

package wire

import (
	"errors"
	"io/fs"
	"os"
	"syscall"

	"github.com/corral-run/corral/internal/proctree"
	"github.com/corral-run/corral/internal/stop"
	"github.com/corral-run/corral/internal/wire/code"
)

// Spec is the first message to the keeper. The number of descriptors (4 bytes) and
// the descriptors come before it.
type Spec struct {
	Path, Dir      string
	Args, Env      []string
	Attr           *syscall.SysProcAttr
	Open           []bool // which of the leader's descriptors are open
	IgnoredSignals []syscall.Signal
	StartGroup     int  // to start the leader from; 0 for the keeper's
	LeaveSession   bool // once the leader has started
	Keep           bool
	Detach         bool // the run is to outlive the owner
	Spares         bool // single processes may be let go of
	IsInit         bool // the keeper is the init of a PID namespace
	Plan           stop.Plan

	LeaderFiles, AttrFiles []*os.File // in the keeper; see Distribute
}

func (s *Spec) fields(c *coder) {
	c.text(&s.Path)
	c.text(&s.Dir)
	list(c, &s.Args, c.text)
	list(c, &s.Env, c.text)
	option(c, &s.Attr, func(a *syscall.SysProcAttr) { attributes(c, a) })
	list(c, &s.Open, c.flag)
	list(c, &s.IgnoredSignals, func(sig *syscall.Signal) { integer(c, sig) })
	integer(c, &s.StartGroup)
	c.flag(&s.LeaveSession)
	c.flag(&s.Keep)
	c.flag(&s.Detach)
	c.flag(&s.Spares)
	c.flag(&s.IsInit)
	c.plan(&s.Plan)
}

// Distribute hands out the descriptors: first those that are Open, in this order,
// to the leader's numbers, then the others to the fields of Attr that name one.
func (s *Spec) Distribute(files []*os.File) {
	next := func() *os.File {
		f := files[0]
		files = files[1:]
		return f
	}
	for _, open := range s.Open {
		var f *os.File
		if open {
			f = next()
		}
		s.LeaderFiles = append(s.LeaderFiles, f)
	}
	for _, field := range AttrDescriptors(s.Attr) {
		f := next()
		s.AttrFiles = append(s.AttrFiles, f)
		*field = int(f.Fd())
	}
}

// AttrDescriptors returns the fields that name a descriptor of the caller.
func AttrDescriptors(a *syscall.SysProcAttr) (fields []*int) {
	if a.Foreground {
		fields = append(fields, &a.Ctty)
	}
	return append(fields, systemDescriptors(a)...)
}

// attributes codes the fields that all systems have, then the system's own.
func attributes(c *coder, a *syscall.SysProcAttr) {
	c.text(&a.Chroot)
	option(c, &a.Credential, func(cred *syscall.Credential) {
		integer(c, &cred.Uid)
		integer(c, &cred.Gid)
		list(c, &cred.Groups, func(g *uint32) { integer(c, g) })
		c.flag(&cred.NoSetGroups)
	})
	c.flag(&a.Ptrace)
	c.flag(&a.Setsid)
	c.flag(&a.Setpgid)
	c.flag(&a.Setctty)
	c.flag(&a.Noctty)
	integer(c, &a.Ctty)
	c.flag(&a.Foreground)
	integer(c, &a.Pgid)
	systemAttributes(c, a)
}

// Event is what the keeper tells the owner.
type Event struct {
	Kind Kind
	// PID and Start are the leader's identity (Started).
	PID   int
	Start uint64
	// A failure (Failed) is the *fs.PathError of os.StartProcess if there is an
	// errno, else text.
	op, path string
	errno    syscall.Errno
	text     string
	// Status is how the leader ended, and Empty whether it was the last of the run
	// (Ended).
	Status syscall.WaitStatus
	Rusage syscall.Rusage // also of LeaderUsage
	Empty  bool
	// Members are those of a MemberList.
	Members []proctree.ID
}

// Kind is what an event tells.
type Kind = code.Kind

// NewFailure returns the event that says that the leader could not be started.
func NewFailure(err error) *Event {
	e := &Event{Kind: code.Failed, text: err.Error()}
	if path, ok := err.(*fs.PathError); ok && errors.As(path.Err, &e.errno) {
		e.op, e.path = path.Op, path.Path
	}
	return e
}

// Err returns the error that a Failed event stands for.
func (e *Event) Err() error {
	if e.errno != 0 {
		return &fs.PathError{Op: e.op, Path: e.path, Err: e.errno}
	}
	return errors.New(e.text)
}

func (e *Event) fields(c *coder) {
	integer(c, &e.Kind)
	switch e.Kind {
	case code.Started:
		integer(c, &e.PID)
		integer(c, &e.Start)
	case code.Failed:
		c.text(&e.op)
		c.text(&e.path)
		integer(c, &e.errno)
		c.text(&e.text)
	case code.Ended:
		integer(c, &e.Status)
		usage(c, &e.Rusage)
		c.flag(&e.Empty)
	case code.LeaderUsage:
		usage(c, &e.Rusage)
	case code.MemberList:
		list(c, &e.Members, func(id *proctree.ID) {
			integer(c, &id.PID)
			integer(c, &id.Start)
		})
	}
}

func usage(c *coder, r *syscall.Rusage) {
	for _, t := range []*syscall.Timeval{&r.Utime, &r.Stime} {
		integer(c, &t.Sec)
		integer(c, &t.Usec)
	}
	integers(c, &r.Maxrss, &r.Ixrss, &r.Idrss, &r.Isrss, &r.Minflt, &r.Majflt, &r.Nswap,
		&r.Inblock, &r.Oublock, &r.Msgsnd, &r.Msgrcv, &r.Nsignals, &r.Nvcsw, &r.Nivcsw)
}
