package wire

import "syscall"

// systemAttributes codes the fields that only FreeBSD has.
func systemAttributes(c *coder, a *syscall.SysProcAttr) {
	integer(c, &a.Pdeathsig)
	integer(c, &a.Jail)
}
