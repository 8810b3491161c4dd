//go:build !linux && !darwin && !freebsd

package pty

import (
	"errors"
	"fmt"
	"os"
	"syscall"
)

// Open fails: there are no pseudo-terminals here.
func Open(Settings) (master, tty *os.File, err error) {
	return nil, nil, fmt.Errorf("%w on this system", errors.ErrUnsupported)
}

func Resize(*os.File, uint16, uint16) error { return errors.ErrUnsupported }

func EndOfFile(*os.File) (char byte, lines bool, err error) {
	return 0, false, errors.ErrUnsupported
}

func IsHangUp(error) bool { return false }

func SessionAttr(attr *syscall.SysProcAttr) (*syscall.SysProcAttr, error) { return attr, nil }
