//go:build !linux && !darwin && !freebsd

package corral

var ladder = []mechanism{{Job, notBuilt}}
