package osproc

import (
	"os"
	"reflect"
	"syscall"
	"unsafe"

	"golang.org/x/sys/windows"
)

// SetHandle gives p a copy of h, the handle that came with the process and has
// every right, as under os/exec. The handle from os.FindProcess allows little more
// than a wait. Where os.Process has other fields than it is known to have, p keeps
// that.
func SetHandle(p *os.Process, h windows.Handle) {
	outer, ok := reflect.TypeFor[os.Process]().FieldByName("handle")
	if !ok || outer.Type.Kind() != reflect.Pointer || outer.Type.Elem().Kind() != reflect.Struct {
		return
	}
	inner, ok := outer.Type.Elem().FieldByName("handle")
	if !ok || inner.Type != reflect.TypeFor[uintptr]() {
		return
	}
	var full windows.Handle
	self := windows.CurrentProcess()
	if windows.DuplicateHandle(self, h, self, &full, 0, false, windows.DUPLICATE_SAME_ACCESS) != nil {
		return
	}
	holder := *(*unsafe.Pointer)(unsafe.Add(unsafe.Pointer(p), outer.Offset))
	handle := (*windows.Handle)(unsafe.Add(holder, inner.Offset))
	full, *handle = *handle, full
	windows.CloseHandle(full)
}

// Released reports whether Release has been called. Signals other than os.Kill fail
// in any case, but with another error.
func Released(p *os.Process) bool { return p.Signal(syscall.Signal(0)) == syscall.EINVAL }
