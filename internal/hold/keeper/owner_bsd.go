//go:build darwin || freebsd

package keeper

import "syscall"

// setPIDFD does nothing: there are no pidfds here.
func setPIDFD(*syscall.SysProcAttr, int) {}

func (k *containment) watch() { k.watchLeader() }

// keeperAllowed is nil: nothing here forbids a keeper.
func keeperAllowed() error { return nil }
