//go:build !unix

package files

import (
	"errors"
	"os"
)

// readAvailable is reached only where pipes have deadlines.
func ReadAvailable(*os.File) (data []byte, open bool, err error) { return nil, true, nil }

// readerGone: it is not to be found out without writing.
func ReaderGone(*os.File) error { return nil }

// duplicate is for what is held.
func Duplicate(*os.File) (*os.File, error) { return nil, errors.ErrUnsupported }

// isHeld: it is not to be found out without waiting for who is reading.
func IsHeld(*os.File) bool { return false }
