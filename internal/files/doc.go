// Package files finds out whether the other end of a pipe or terminal is open, and
// what is in it.
package files
