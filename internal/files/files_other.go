//go:build !unix

package files

import (
	"errors"
	"os"
)

// ReadAvailable is called only where pipes have deadlines.
func ReadAvailable(*os.File) (data []byte, open bool, err error) { return nil, true, nil }

// WriteError is nil: only a write would tell.
func WriteError(*os.File) error { return nil }

// Duplicate is for what HasOtherEnd is true of.
func Duplicate(*os.File) (*os.File, error) { return nil, errors.ErrUnsupported }

// HasOtherEnd is false: only a wait for the reader would tell.
func HasOtherEnd(*os.File) bool { return false }
