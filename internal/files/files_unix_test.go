//go:build unix

package files

import (
	"bytes"
	"errors"
	"io"
	"os"
	"syscall"
	"testing"
	"time"
)

func pipe(t *testing.T) (r, w *os.File) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close(); w.Close() })
	return r, w
}

// TestReadAvailable: it takes what is there, and does not wait for more.
func TestReadAvailable(t *testing.T) {
	r, w := pipe(t)
	r.SetReadDeadline(time.Unix(1, 0)) // which is over
	if data, open, err := ReadAvailable(r); len(data) != 0 || !open || err != nil {
		t.Errorf("empty: %q, %v, %v", data, open, err)
	}
	w.WriteString("some text")
	if data, open, err := ReadAvailable(r); string(data) != "some text" || !open || err != nil {
		t.Errorf("written to: %q, %v, %v", data, open, err)
	}
	w.WriteString("the last")
	w.Close()
	if data, open, err := ReadAvailable(r); string(data) != "the last" || open || err != nil {
		t.Errorf("closed: %q, %v, %v", data, open, err)
	}
	r.Close()
	if _, _, err := ReadAvailable(r); err == nil {
		t.Error("a closed file can be read")
	}
}

// TestReadAvailableMuch: a writer that does not stop does not keep the reader.
func TestReadAvailableMuch(t *testing.T) {
	r, w := pipe(t)
	ended := make(chan error, 1)
	go func() {
		for text := bytes.Repeat([]byte("x"), 1<<16); ; {
			if _, err := w.Write(text); err != nil {
				ended <- err
				return
			}
		}
	}()
	if _, open, err := ReadAvailable(r); !open || err != nil {
		t.Errorf("%v, %v", open, err)
	}
	r.Close()
	if err := <-ended; !errors.Is(err, syscall.EPIPE) {
		t.Error(err)
	}
}

// TestOtherEnd: each end knows of the other one's close.
func TestOtherEnd(t *testing.T) {
	r, w := pipe(t)
	if err := WriteError(w); err != nil {
		t.Errorf("with a reader: %v", err)
	}
	if HungUp(r) || !HasOtherEnd(r) {
		t.Errorf("with a writer: hung up %v, other end %v", HungUp(r), HasOtherEnd(r))
	}
	dup, err := Duplicate(w)
	if err != nil {
		t.Fatal(err)
	}
	w.Close()
	if HungUp(r) || !HasOtherEnd(r) {
		t.Error("a duplicate is not a writer")
	}
	if _, err := dup.WriteString("x"); err != nil {
		t.Error(err)
	}
	dup.Close()
	if !HungUp(r) || HasOtherEnd(r) {
		t.Errorf("without a writer: hung up %v, other end %v", HungUp(r), HasOtherEnd(r))
	}
	r, w = pipe(t)
	r.Close()
	err = WriteError(w)
	if _, werr := w.WriteString("x"); !errors.Is(err, syscall.EPIPE) || werr == nil || err.Error() != werr.Error() {
		t.Errorf("without a reader: %v; a write says %v", err, werr)
	}
}

// TestWithFD: an error is the function's; of a closed file there is no descriptor.
func TestWithFD(t *testing.T) {
	r, _ := pipe(t)
	if err := WithFD(r, func(int) error { return io.EOF }); err != io.EOF {
		t.Error(err)
	}
	r.Close()
	if err := WithFD(r, func(int) error { t.Error("called"); return nil }); !errors.Is(err, os.ErrClosed) && !errors.Is(err, os.ErrInvalid) {
		t.Error(err)
	}
	if _, err := Duplicate(r); err == nil {
		t.Error("a closed file has a duplicate")
	}
}
