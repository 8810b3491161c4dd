//go:build unix && !linux && !freebsd

package procgroup

import "syscall"

// A process cannot ask here for a signal when its parent ends.

func setParentDeathSignal(int) error                      { return supported() }
func setAttrParentDeathSignal(*syscall.SysProcAttr) error { return supported() }
