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

// Owner and keeper do not speak JSON or gob. Those take longer to get going than
// all else that a keeper does: its life is often that short.

// coder writes values to a message or reads them from one, in the order in which a
// type's fields method names them.
type coder struct {
	b       []byte
	reading bool
	bad     bool // the message cannot be read
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

// list codes the elements of a slice with each. A nil slice becomes an empty one.
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

// option codes what p points to, if it points to anything.
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

// The owner's requests, which follow the spec, are one byte each.
const (
	Kill = 'k' // kill the run
	Reap = 'r' // reap the leader, which has ended: the run goes on for long
	// Finish has the keeper reap the leader and end as it did. Others may have
	// taken the owner's end of the line, so the keeper first kills whoever is to be
	// stopped.
	Finish = 'f'
	// AskMembers asks who the members are, where only the keeper knows.
	AskMembers = 'm'
	// LetGo says that the owner lets go of the run, and closes the line.
	LetGo = 'd'
	Ping  = 'p' // asks for a Pong
	// SignalBase plus the number of a signal has the keeper send the signal to
	// every member: the owner may be out of descriptors. The number is less than
	// SignalBase.
	SignalBase = 0x80
)

// NewFailure returns the event that says that the leader could not be started.
func NewFailure(err error) *Event {
	e := &Event{Kind: Failed, text: err.Error()}
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

// message is what the line carries.
type message interface{ fields(*coder) }

// Frame returns the message as it goes over the line: its length in 4 bytes, then
// the message.
func Frame(m message) []byte {
	c := &coder{b: make([]byte, 4, 512)}
	m.fields(c)
	binary.NativeEndian.PutUint32(c.b, uint32(len(c.b)-4))
	return c.b
}

// Messages are at most this long. The kernel takes at most 6 MiB of arguments and
// environment (bprm_stack_limits in its fs/exec.c).
const (
	MaxSpec  = 16 << 20
	MaxEvent = 4 << 20
)

// Receive reads a message of at most most bytes.
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
		return errors.New("cannot read the message: is the helper of another version?")
	}
	return nil
}

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
type Kind int

const (
	Started Kind = iota + 1
	Failed
	Ended
	Empty       // after Ended: no member is left
	LeaderUsage // after Ended, where only reaping tells what the leader has used
	MemberList  // the answer to AskMembers
	Pong        // the answer to Ping
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
