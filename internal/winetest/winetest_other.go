//go:build !windows

package winetest

// Detected reports whether this is Wine.
func Detected() bool { return false }

// Start calls start.
func Start(start func() error) error { return start() }

// Lives does not know: this is not Wine.
func Lives(string) bool { return true }

// Forgotten returns nothing: this is not Wine.
func Forgotten() []string { return nil }
