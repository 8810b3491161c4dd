//go:build !windows

package winetest

// Detected reports whether this is Wine.
func Detected() bool { return false }

// Forgotten returns nothing: this is not Wine.
func Forgotten() []string { return nil }
