package corral_test

import "github.com/corral-run/corral"

var containments = []corral.Containment{corral.Job}

// endings says of the children whose leader does not exit with status 0 when it
// is released how it ends.
var endings = map[string]string{"kill-parent": "exit status 1"}

// succeed is a command that does nothing.
var succeed = []string{"cmd", "/c", "exit"}
