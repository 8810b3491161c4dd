//go:build !linux || !(amd64 || arm64)

package poor

import (
	"errors"
	"fmt"
	"syscall"
)

// Attr does nothing here.
func (m Machine) Attr(*syscall.SysProcAttr) {}

// Exec returns an error here.
func (m Machine) Exec([]string) error {
	return fmt.Errorf("poor: %s: %w", m.Kind, errors.ErrUnsupported)
}
