//go:build !linux && !darwin && !freebsd && !windows

package corral

// Nothing is known here that could hold a run: Start returns a ContainmentError.
var ladder []mechanism
