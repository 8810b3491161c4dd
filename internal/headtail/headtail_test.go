package headtail

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/iotest"
)

// model is what should come out: the first and the last half, and the count.
func model(limit int, in []byte) string {
	head, tail := limit-limit/2, limit/2
	if len(in) <= limit {
		return string(in)
	}
	return fmt.Sprintf("%s\n... omitting %d bytes ...\n%s", in[:head], len(in)-limit, in[len(in)-tail:])
}

func TestWriter(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for limit := 1; limit < 40; limit++ {
		for size := range 130 {
			in := make([]byte, size)
			for i := range in {
				in[i] = 'a' + byte(i%26)
			}
			var got bytes.Buffer
			w := &Writer{To: &got, Limit: int64(limit)}
			for rest := in; len(rest) > 0; {
				k := 1 + r.IntN(len(rest))
				if r.IntN(2) == 0 {
					k = 1 + r.IntN(min(len(rest), 5))
				}
				if n, err := w.Write(rest[:k]); n != k || err != nil {
					t.Fatalf("Write: %d, %v; want %d", n, err, k)
				}
				rest = rest[k:]
			}
			if early := min(size, limit-limit/2); got.Len() != early {
				t.Fatalf("limit %d, %d bytes: %d passed on at once; want %d", limit, size, got.Len(), early)
			}
			if err := w.Flush(); err != nil {
				t.Fatal(err)
			}
			if want := model(limit, in); got.String() != want || w.Dropped() != int64(max(0, size-limit)) {
				t.Fatalf("limit %d, %d bytes: %q, %d dropped; want %q", limit, size, got.String(), w.Dropped(), want)
			}
		}
	}
}

func TestReadFrom(t *testing.T) {
	in := bytes.Repeat([]byte("0123456789"), 300000)
	for i := range in {
		in[i] += byte(i / 10 % 26)
	}
	for _, limit := range []int{1, 1000, 2*65536 - 1, 2 * 65536, 300001, len(in) - 1, len(in)} {
		var got bytes.Buffer
		w := &Writer{To: &got, Limit: int64(limit)}
		n, err := io.Copy(w, odd{bytes.NewReader(in)})
		if n != int64(len(in)) || err != nil {
			t.Errorf("limit %d: %d, %v; want %d", limit, n, err, len(in))
		}
		w.Flush()
		if want := model(limit, in); got.String() != want || w.Dropped() != int64(len(in)-limit) {
			t.Errorf("limit %d: %d bytes, %d dropped; want %d bytes", limit, got.Len(), w.Dropped(), len(want))
		}
	}
	w := &Writer{To: io.Discard, Limit: 1}
	broken := iotest.ErrReader(io.ErrUnexpectedEOF)
	if _, err := io.Copy(w, broken); err != io.ErrUnexpectedEOF {
		t.Errorf("a reader that fails: %v", err)
	}
}

// odd reads pieces of odd sizes.
type odd struct{ io.Reader }

func (o odd) Read(b []byte) (int, error) { return o.Reader.Read(b[:min(len(b), 1+len(b)*2/3)]) }

// TestTo: the caller gets an error of the writer below.
func TestTo(t *testing.T) {
	r, to := io.Pipe()
	r.Close()
	w := &Writer{To: to, Limit: 10}
	if n, err := w.Write([]byte("x")); n != 0 || err != io.ErrClosedPipe {
		t.Errorf("Write: %d, %v", n, err)
	}
	if _, err := w.ReadFrom(strings.NewReader("x")); err != io.ErrClosedPipe {
		t.Errorf("ReadFrom: %v", err)
	}
	w.tail = []byte("x")
	if err := w.Flush(); err != io.ErrClosedPipe {
		t.Errorf("Flush: %v", err)
	}
}
