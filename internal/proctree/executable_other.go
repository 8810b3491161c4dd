//go:build !linux

package proctree

// Executable is known on Linux only.
func Executable(ID) string { return "" }
