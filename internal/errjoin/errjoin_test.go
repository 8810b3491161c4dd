package errjoin

import (
	"errors"
	"io"
	"io/fs"
	"testing"
)

func TestJoin(t *testing.T) {
	if err := Join(); err != nil {
		t.Error(err)
	}
	if err := Join(nil, nil); err != nil {
		t.Error(err)
	}
	if err := Join(nil, io.EOF, nil); err != io.EOF {
		t.Errorf("of one: %#v, want itself", err)
	}
	err := Join(io.EOF, nil, &fs.PathError{Op: "open", Path: "x", Err: fs.ErrNotExist})
	if got, want := err.Error(), "EOF; open x: file does not exist"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	var path *fs.PathError
	if !errors.Is(err, io.EOF) || !errors.Is(err, fs.ErrNotExist) || !errors.As(err, &path) || errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("%v does not wrap what it joins, or more", err)
	}
}
