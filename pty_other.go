//go:build !linux && !darwin && !freebsd

package corral

import (
	"errors"
	"fmt"
	"os"
	"syscall"
)

func (p *PTY) open(bool) (*terminal, *os.File, error) {
	return nil, nil, fmt.Errorf("corral: PTY: %w on this system", errors.ErrUnsupported)
}

func (t *terminal) resize(rows, cols uint16) error { return errors.ErrUnsupported }

func (t *terminal) endOfFile() (char byte, lines bool, err error) {
	return 0, false, errors.ErrUnsupported
}

func isHangUp(error) bool { return false }

func lead(attr *syscall.SysProcAttr) (*syscall.SysProcAttr, error) { return attr, nil }
