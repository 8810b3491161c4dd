package wire

import "syscall"

// systemAttributes codes nothing: macOS has no fields of its own.
func systemAttributes(*coder, *syscall.SysProcAttr) {}

// systemDescriptors returns the fields of this system's own that name a descriptor.
func systemDescriptors(*syscall.SysProcAttr) []*int { return nil }
