package wire

import "syscall"

// systemAttributes codes the fields that only Linux has, except PidFD, which is the
// owner's.
func systemAttributes(c *coder, a *syscall.SysProcAttr) {
	integer(c, &a.Pdeathsig)
	integer(c, &a.Cloneflags)
	integer(c, &a.Unshareflags)
	idMap := func(m *syscall.SysProcIDMap) {
		integer(c, &m.ContainerID)
		integer(c, &m.HostID)
		integer(c, &m.Size)
	}
	optional(c, &a.UidMappings, idMap)
	optional(c, &a.GidMappings, idMap)
	c.flag(&a.GidMappingsEnableSetgroups)
	optional(c, &a.AmbientCaps, func(p *uintptr) { integer(c, p) })
	c.flag(&a.UseCgroupFD)
	integer(c, &a.CgroupFD)
}

// systemDescriptors returns the fields of Linux's own that name a descriptor.
func systemDescriptors(a *syscall.SysProcAttr) []*int {
	if a.UseCgroupFD {
		return []*int{&a.CgroupFD}
	}
	return nil
}

// optional is list for a slice that means one thing if nil and another if empty.
func optional[T any](c *coder, p *[]T, each func(*T)) {
	there := *p != nil
	c.flag(&there)
	if there {
		list(c, p, each)
	}
}
