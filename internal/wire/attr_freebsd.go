package wire

import "syscall"

// systemAttributes codes the fields that only FreeBSD has.
func systemAttributes(c *coder, a *syscall.SysProcAttr) {
	integer(c, &a.Pdeathsig)
	integer(c, &a.Jail)
}

// systemDescriptors returns the fields of this system's own that name a descriptor.
func systemDescriptors(*syscall.SysProcAttr) []*int { return nil }
