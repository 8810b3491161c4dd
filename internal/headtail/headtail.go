// Package headtail cuts output that is too long: it keeps the beginning and the
// end.
package headtail

import (
	"fmt"
	"io"
)

// Writer writes the first half of Limit bytes to To at once, and keeps the last
// half of what comes after it until Flush. However much is written, it holds no
// more than that half, and a buffer.
type Writer struct {
	To    io.Writer
	Limit int64
	// Gone, if not nil, returns an error if To would. ReadFrom asks it now and
	// then: what is left out is not written, so nobody would notice otherwise.
	Gone func() error

	passed  int64
	tail    []byte // a ring once it is full
	at      int    // where the ring's oldest byte is
	dropped int64
}

// Dropped returns how many bytes have been left out so far.
func (w *Writer) Dropped() int64 { return w.dropped }

func (w *Writer) Write(p []byte) (int, error) {
	n := len(p)
	if head := w.Limit - w.Limit/2 - w.passed; head > 0 && len(p) > 0 {
		k, err := w.To.Write(p[:min(head, int64(len(p)))])
		w.passed += int64(k)
		if err != nil {
			return k, err
		}
		p = p[k:]
	}
	size := int(w.Limit / 2)
	if over := len(p) - size; over > 0 {
		w.dropped += int64(over)
		p = p[over:]
	}
	k := min(size-len(w.tail), len(p))
	w.tail = append(w.tail, p[:k]...)
	p = p[k:]
	w.dropped += int64(len(p))
	for len(p) > 0 {
		k := copy(w.tail[w.at:], p)
		p = p[k:]
		w.at = (w.at + k) % size
	}
	return n, nil
}

// ReadFrom makes io.Copy read in pieces as large as a pipe, most of them to where
// they are kept, without another copy. r must not touch the part of a buffer that
// it does not fill. Files do not.
func (w *Writer) ReadFrom(r io.Reader) (n int64, err error) {
	const piece = 64 << 10
	buf := make([]byte, piece)
	size := int(w.Limit / 2)
	for {
		into := buf
		ring := size >= piece && len(w.tail) == size
		if ring {
			into = w.tail[w.at:min(w.at+piece, size)]
		}
		k, err := r.Read(into)
		n += int64(k)
		if w.Gone != nil {
			if err := w.Gone(); err != nil {
				return n, err
			}
		}
		switch {
		case ring:
			w.dropped += int64(k)
			w.at = (w.at + k) % size
		case k > 0:
			if _, err := w.Write(into[:k]); err != nil {
				return n, err
			}
		}
		if err == io.EOF {
			return n, nil
		}
		if err != nil {
			return n, err
		}
	}
}

// Flush writes the tail to To, after a line that says how much is missing before
// it, if anything is. Call it once, when all has been written.
func (w *Writer) Flush() error {
	var b []byte
	if w.dropped > 0 {
		b = fmt.Appendf(b, "\n... omitting %d bytes ...\n", w.dropped)
	}
	for _, part := range [][]byte{b, w.tail[w.at:], w.tail[:w.at]} {
		if len(part) == 0 {
			continue
		}
		if _, err := w.To.Write(part); err != nil {
			return err
		}
	}
	return nil
}
