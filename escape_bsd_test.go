//go:build darwin || freebsd

package corral_test

import "github.com/corral-run/corral"

var containments = []corral.Containment{corral.Group}
