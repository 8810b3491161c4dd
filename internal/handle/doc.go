// Package handle is os.Process.WithHandle, for toolchains that do not have it yet:
// it came with Go 1.26.
package handle
