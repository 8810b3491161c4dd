//go:build !linux && !darwin && !freebsd

package corral

import (
	"errors"
	"fmt"
	"os"
	"syscall"
)

func openTerminal(terminalSettings) (master, tty *os.File, err error) {
	return nil, nil, fmt.Errorf("%w on this system", errors.ErrUnsupported)
}

func resizeTerminal(*os.File, uint16, uint16) error { return errors.ErrUnsupported }

func terminalEnd(*os.File) (char byte, lines bool, err error) {
	return 0, false, errors.ErrUnsupported
}

func isHangUp(error) bool { return false }

func sessionAttr(attr *syscall.SysProcAttr) (*syscall.SysProcAttr, error) { return attr, nil }
