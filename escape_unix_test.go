//go:build linux || darwin || freebsd

package corral_test

// endings says of the children whose leader does not exit with status 0 when it
// is released how it ends.
var endings = map[string]string{"kill-group": "signal: terminated", "kill-parent": "signal: killed"}

// succeed is a command that does nothing.
var succeed = []string{"true"}
