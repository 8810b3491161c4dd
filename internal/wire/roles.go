// Package wire is what an owner and its helpers tell each other. The packages below
// internal/hold run in the owner, and those below internal/roles in helpers. Of a
// run, they share only this.
package wire

import "github.com/corral-run/corral/internal/wire/code"

// The names of the roles that helpers have.
const (
	KeeperRole  = code.KeeperRole  // holds one run, between the owner and the leader
	GuardRole   = "corral-guard"   // stops what an owner leaves in control groups
	ConsoleRole = "corral-console" // attaches to a console, to send an event to it

	// RunnerRole is a program that os/exec starts in a command's place. It is a helper to
	// its parent, and the owner of the run.
	RunnerRole = "corral-runner"
)
