//go:build !linux && !darwin && !freebsd && !windows

package helper

// Owner is unknown here: there are no helpers.
type Owner struct{}

func asked() bool { return false }

func become(string, func(Owner)) {}
