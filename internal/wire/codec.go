//go:build linux || darwin || freebsd || windows

package wire

import (
	"encoding/binary"
	"errors"
	"io"

	"github.com/corral-run/corral/internal/stop"
)

// Owner and keeper do not speak JSON or gob. Those take longer to get going than
// all else that a keeper does: its life is often that short.

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
