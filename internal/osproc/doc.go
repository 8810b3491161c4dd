// Package osproc does with an os.Process and its attributes what package os cannot
// do, or not in every supported version of Go.
package osproc
