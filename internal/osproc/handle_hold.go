//go:build go1.26 || !linux

package osproc

import "os"

// HoldHandle is for toolchains before Go 1.26, on Linux: see there.
func HoldHandle(*os.Process) {}

// DropHandle undoes HoldHandle.
func DropHandle(*os.Process) {}
