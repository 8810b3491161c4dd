// Package osproc does with an os.Process and its attributes what package os has no
// function for, or not in every version that is supported.
package osproc
