// Package console is a program of its own, the helper that attaches to another
// console on Windows: a process can have only one, and the owner keeps its own.
package console
