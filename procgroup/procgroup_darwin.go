package procgroup

import "syscall"

// A process cannot ask here for a signal when its parent ends.

func setParentDeathSignal(int) error                      { return nil }
func setAttrParentDeathSignal(*syscall.SysProcAttr) error { return nil }
