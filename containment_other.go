//go:build !linux && !darwin && !freebsd && !windows

package corral

var ladder = []mechanism{{Group, notBuilt}}
