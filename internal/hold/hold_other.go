//go:build !linux

package hold

import (
	"errors"
	"syscall"
)

func Ready() error { return nil }

func TableUsable() error { return nil }

// NeedsOwnThread is about Linux only.
func NeedsOwnThread(*syscall.SysProcAttr) bool { return false }

func Adopt(Containment) (Containment, error) { return nil, errors.ErrUnsupported }
