//go:build darwin || freebsd

package wire

import "syscall"

// AttrDescriptors returns the fields that name a descriptor of the caller.
func AttrDescriptors(a *syscall.SysProcAttr) []*int {
	if a.Foreground {
		return []*int{&a.Ctty}
	}
	return nil
}
