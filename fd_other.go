//go:build !unix

package corral

import (
	"errors"
	"os"
)

// readAvailable is reached only where pipes have deadlines.
func readAvailable(*os.File) (data []byte, open bool, err error) { return nil, true, nil }

// readerGone: it is not to be found out without writing.
func readerGone(*os.File) error { return nil }

// duplicate is for what is held.
func duplicate(*os.File) (*os.File, error) { return nil, errors.ErrUnsupported }

// isHeld: it is not to be found out without waiting for who is reading.
func isHeld(*os.File) bool { return false }
