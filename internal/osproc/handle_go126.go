//go:build go1.26

package osproc

import "os"

// ErrNoHandle is the error of WithHandle if there is no handle.
var ErrNoHandle = os.ErrNoHandle

// WithHandle calls f with a handle of p, a pidfd on Linux, which stays p's until f
// returns. If p has been waited for, the error is os.ErrProcessDone; another one on
// Windows, where that also releases p.
func WithHandle(p *os.Process, f func(handle uintptr)) error { return p.WithHandle(f) }
