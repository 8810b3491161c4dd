// Package keeper is a program of its own, the keeper: the process between the owner
// and the leader of one run. It knows the members. It outlives the owner, and then
// stops the run. It also leaves the leader unreaped until the owner knows how it
// ended, so that the leader's PID means the leader for as long as under os/exec.
package keeper
