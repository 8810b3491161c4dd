//go:build go1.26 || !linux

package handle

import "os"

// Hold is for toolchains before Go 1.26, on Linux: see there.
func Hold(*os.Process) {}

// Drop undoes Hold.
func Drop(*os.Process) {}
