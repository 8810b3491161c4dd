//go:build darwin || freebsd

package wire

import "syscall"

// DescriptorsOf returns the fields that name a descriptor of the caller's.
func DescriptorsOf(a *syscall.SysProcAttr) []*int {
	if a.Foreground {
		return []*int{&a.Ctty}
	}
	return nil
}
