// Package guard is a program of its own, the guard: one process for all runs that
// an owner has in control groups, which outlive the owner. It knows the owner's
// directory and waits for the end of its line. Then it stops what is in the
// directory, each run by its own plan, and removes it. When it starts, it does the
// same for directories that have lost owner and guard.
//
// It lives beside the directory, so that what a command does to the directory does
// not reach it. It has a session of its own, so that no terminal and no kill of the
// owner's group reaches it.
package guard
