//go:build !linux

package detach

import "errors"

// Door is for systems where Corral lets go of single processes.
type Door struct{}

func Open() (*Door, error)       { return nil, errors.ErrUnsupported }
func (*Door) Address() string    { return "" }
func (*Door) Serve(_ Doorkeeper) {}
func (*Door) Close()             {}
