package wire

import "syscall"

// systemAttributes codes nothing: macOS has no fields of its own.
func systemAttributes(*coder, *syscall.SysProcAttr) {}
