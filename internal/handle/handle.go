//go:build go1.26

package handle

import "os"

// ErrNone is the error of With if there is no handle to be had.
var ErrNone = os.ErrNoHandle

// With calls f with a handle of p, a pidfd on Linux, which is p's until f returns. If p
// has been waited for, it is an os.ErrProcessDone.
func With(p *os.Process, f func(handle uintptr)) error { return p.WithHandle(f) }
