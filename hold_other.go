//go:build !linux

package corral

import (
	"errors"
	"syscall"
)

func canWait() error { return nil }

func tableUsable() error { return nil }

// needsOwnThread is about Linux only.
func needsOwnThread(*syscall.SysProcAttr) bool { return false }

func adopt(containment) (containment, error) { return nil, errors.ErrUnsupported }
