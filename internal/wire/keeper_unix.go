//go:build linux || darwin || freebsd

package wire

import (
	"encoding/binary"
	"errors"
	"io"
	"io/fs"
	"os"
	"syscall"

	"github.com/corral-run/corral/internal/proctree"
	"github.com/corral-run/corral/internal/stop"
)

// What owner and keeper tell each other is not JSON or gob, which take longer to
// get going than all else that a keeper does: its life is often that short.

// coder writes values to a message, or reads them from one, in the order in
// which a type's fields method names them.
type coder struct {
	b       []byte
	reading bool
	bad     bool // the message is too short
}

func (c *coder) number(p *int64) {
	if !c.reading {
		c.b = binary.AppendVarint(c.b, *p)
		return
	}
	n, size := binary.Varint(c.b)
	if size <= 0 {
		c.bad, c.b = true, nil
		return
	}
	*p, c.b = n, c.b[size:]
}

func (c *coder) text(p *string) {
	n := int64(len(*p))
	c.number(&n)
	switch {
	case !c.reading:
		c.b = append(c.b, *p...)
	case n < 0 || n > int64(len(c.b)):
		c.bad, c.b = true, nil
	default:
		*p, c.b = string(c.b[:n]), c.b[n:]
	}
}

func (c *coder) flag(p *bool) {
	var n int64
	if *p {
		n = 1
	}
	c.number(&n)
	*p = n != 0
}

func (c *coder) plan(p *stop.Plan) {
	text := p.String()
	c.text(&text)
	if c.reading && !c.bad {
		var err error
		if *p, err = stop.ParsePlan(text); err != nil {
			c.bad, c.b = true, nil
		}
	}
}

// integer is number for any type of integer.
func integer[T ~int | ~int32 | ~int64 | ~uint32 | ~uint64 | ~uintptr](c *coder, p *T) {
	n := int64(*p)
	c.number(&n)
	*p = T(n)
}

func integers[T ~int32 | ~int64](c *coder, ps ...*T) {
	for _, p := range ps {
		integer(c, p)
	}
}

// list codes the elements of a slice with each. A nil one becomes an empty one.
func list[T any](c *coder, p *[]T, each func(*T)) {
	n := int64(len(*p))
	c.number(&n)
	if c.reading {
		if n < 0 || n > int64(len(c.b)) { // an element takes a byte at least
			c.bad, c.b = true, nil
			return
		}
		*p = make([]T, n)
	}
	for i := range *p {
		each(&(*p)[i])
	}
}

// option codes what p points to, if anything.
func option[T any](c *coder, p **T, each func(*T)) {
	there := *p != nil
	c.flag(&there)
	if there && *p == nil {
		*p = new(T)
	}
	if there {
		each(*p)
	}
}

// What the owner sends after the spec, a byte each.
const (
	Kill = 'k'
	Reap = 'r' // reap the leader, which has ended: the run goes on for long
	// keeperFinish has the keeper reap the leader and end as it did. Others may
	// have taken the owner's end of the line: whoever is to be stopped is killed
	// before.
	Finish = 'f'
	// keeperMembers asks who the members are, where only the keeper knows.
	AskMembers = 'm'
	// keeperLetGo: the owner has let go of the run, and closes the line.
	LetGo = 'd'
	Ping  = 'p' // asks whether it is there
	// keeperSignal and the number of a signal, which is below it, has the keeper
	// send that to every member, should the owner be out of descriptors.
	SignalBase = 0x80
)

func NewFailure(err error) *Event {
	e := &Event{Kind: Failed, text: err.Error()}
	if path, ok := err.(*fs.PathError); ok && errors.As(path.Err, &e.errno) {
		e.op, e.path = path.Op, path.Path
	}
	return e
}

func (e *Event) Err() error {
	if e.errno != 0 {
		return &fs.PathError{Op: e.op, Path: e.path, Err: e.errno}
	}
	return errors.New(e.text)
}

// message is what can be sent.
type message interface{ fields(*coder) }

// Frame is a message on the line: its length in 4 bytes, then itself.
func Frame(m message) []byte {
	c := &coder{b: make([]byte, 4, 512)}
	m.fields(c)
	binary.NativeEndian.PutUint32(c.b, uint32(len(c.b)-4))
	return c.b
}

// The most that a message may be long. The kernel takes 6 MiB of arguments and
// environment at most (bprm_stack_limits in its fs/exec.c).
const (
	MaxSpec  = 16 << 20
	MaxEvent = 4 << 20
)

func Receive(line io.Reader, m message, most uint32) error {
	var size [4]byte
	if _, err := io.ReadFull(line, size[:]); err != nil {
		return err
	}
	if binary.NativeEndian.Uint32(size[:]) > most {
		return errors.New("the message is too long")
	}
	c := &coder{b: make([]byte, binary.NativeEndian.Uint32(size[:])), reading: true}
	if _, err := io.ReadFull(line, c.b); err != nil {
		return err
	}
	if m.fields(c); c.bad || len(c.b) > 0 {
		return errors.New("the message is not understood: is the helper of the same version?")
	}
	return nil
}

// Spec is what the keeper is told first, after the number of descriptors
// (4 bytes) and the descriptors.
type Spec struct {
	Path, Dir      string
	Args, Env      []string
	Attr           *syscall.SysProcAttr
	Open           []bool // which of the leader's descriptors are open; they come in this order, then those of AttrDescriptors(sys)
	IgnoredSignals []syscall.Signal
	StartGroup     int  // which one to start the leader from; 0: the one that the keeper is in
	LeaveSession   bool // for one of the keeper's own, once the leader has started
	Keep           bool
	Detach         bool // the run goes on when the owner is gone
	IsInit         bool // the keeper is the init of a PID namespace
	Plan           stop.Plan

	LeaderFiles, AttrFiles []*os.File // the descriptors, in the keeper
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
	c.flag(&s.IsInit)
	c.plan(&s.Plan)
}

// Distribute hands the descriptors out: to the leader's numbers, and to the fields
// of Sys that name one.
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
	// Of started: the leader's identity.
	PID   int
	Start uint64
	// Of failed: the *fs.PathError of os.StartProcess if there is an errno, else
	// text.
	op, path string
	errno    syscall.Errno
	text     string
	// Of ended: how the leader did, and whether that was the last of the run.
	Status syscall.WaitStatus
	Rusage syscall.Rusage // also of used
	Empty  bool
	// Of members: who they are.
	Members []proctree.ID
}

type Kind int

const (
	Started Kind = iota + 1
	Failed
	Ended
	Empty       // after ended, and it stays so
	LeaderUsage // after ended, where what the leader has used is known only once it has been reaped
	MemberList  // an answer to keeperMembers
	Pong        // an answer to keeperPing
)

func (e *Event) fields(c *coder) {
	integer(c, &e.Kind)
	switch e.Kind {
	case Started:
		integer(c, &e.PID)
		integer(c, &e.Start)
	case Failed:
		c.text(&e.op)
		c.text(&e.path)
		integer(c, &e.errno)
		c.text(&e.text)
	case Ended:
		integer(c, &e.Status)
		usage(c, &e.Rusage)
		c.flag(&e.Empty)
	case LeaderUsage:
		usage(c, &e.Rusage)
	case MemberList:
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
