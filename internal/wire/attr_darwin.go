package wire

import "syscall"

// systemAttributes codes the fields of macOS's own.
func systemAttributes(*coder, *syscall.SysProcAttr) {}
