//go:build !linux

package proctree

import "time"

// Executable is known on Linux only.
func Executable(ID) string { return "" }

// AboutToExecute is for systems where Executable is known.
func AboutToExecute(ID, time.Duration) bool { return false }
