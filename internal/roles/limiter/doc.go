// Package limiter is a program of its own, for a moment: the process that is to be the
// command, before it is. It sets its resource limits, waits until its owner has limited
// the run, if that is to be, and executes the command.
package limiter
