//go:build !linux

package daemons

import "github.com/corral-run/corral/internal/proctree"

// away is for systems where Corral keeps nobody: see hold.Sparing.
func away(proctree.ID) bool { return false }
