package wire

import "syscall"

// systemAttributes codes the fields of FreeBSD's own.
func systemAttributes(c *coder, a *syscall.SysProcAttr) {
	integer(c, &a.Pdeathsig)
	integer(c, &a.Jail)
}
