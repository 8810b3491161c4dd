// Package console is a program of its own, the helper that attaches to a console on
// Windows: a process has only one, and the owner keeps its own.
package console
