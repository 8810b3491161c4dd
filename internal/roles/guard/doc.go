// Package guard is a program of its own, the guard: one process for all runs that
// an owner has in control groups, which are still there when the owner is not. It
// knows one directory and waits for the end of its line; then it stops what is in
// the directory, each run by its own plan, and removes it. It does the same, at its
// start, for the directories that have lost owner and guard.
//
// It lives beside the directory, so that what a command does to that one does not
// reach it, and in a session of its own, so that no terminal and no kill of the
// owner's group does.
package guard
