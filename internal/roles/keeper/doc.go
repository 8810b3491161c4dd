// Package keeper is a program of its own, the keeper: the process between the owner
// and the leader of one run. It knows the members, outlives the owner, and stops
// the run then. It also holds the leader unreaped until the owner has been told how
// it ended, so that the leader's PID means the leader for as long as it does under
// os/exec.
package keeper
