//go:build !linux

package hold

import (
	"errors"
	"syscall"
)

// Ready has nothing to find out here.
func Ready() error { return nil }

// TableUsable is about /proc, and so about Linux only.
func TableUsable() error { return nil }

// NeedsOwnThread is false: only Linux ties the parent-death signal to a thread.
func NeedsOwnThread(*syscall.SysProcAttr) bool { return false }

// Adopt is for Linux only, which has subreapers.
func Adopt(Containment) (Containment, error) { return nil, errors.ErrUnsupported }
