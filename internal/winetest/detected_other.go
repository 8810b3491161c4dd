//go:build !windows

package winetest

// Detected reports whether this is Wine.
func Detected() bool { return false }
