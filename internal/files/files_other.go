//go:build !unix

package files

import (
	"errors"
	"os"
)

// ReadAvailable is reached only where pipes have deadlines.
func ReadAvailable(*os.File) (data []byte, open bool, err error) { return nil, true, nil }

// WriteError: it is not to be found out without writing.
func WriteError(*os.File) error { return nil }

// Duplicate is for what is held.
func Duplicate(*os.File) (*os.File, error) { return nil, errors.ErrUnsupported }

// HasOtherEnd: it is not to be found out without waiting for who is reading.
func HasOtherEnd(*os.File) bool { return false }
