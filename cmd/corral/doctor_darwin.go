package main

import "github.com/corral-run/corral"

// macOS has no parent-death signal, and adopts no orphans: package corral.
func init() {
	ownerKilled[corral.Keeper] = "keeper stops what it knows"
	ownerKilled[corral.Group] = "nothing is killed"
}
