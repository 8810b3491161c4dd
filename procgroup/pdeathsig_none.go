//go:build darwin || windows

package procgroup

import "syscall"

func setParentDeathSignal(int) error                      { return nil }
func setAttrParentDeathSignal(*syscall.SysProcAttr) error { return nil }
