//go:build go1.26 || !linux

package osproc

import "os"

// HoldHandle does nothing: only Linux before Go 1.26 needs it.
func HoldHandle(*os.Process) {}

// DropHandle undoes HoldHandle.
func DropHandle(*os.Process) {}
