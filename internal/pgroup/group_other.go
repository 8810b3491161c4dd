//go:build !unix && !plan9

package pgroup

import (
	"context"
	"errors"
	"fmt"
	"syscall"

	"github.com/corral-run/corral/internal/proctree"
)

var errUnsupported = fmt.Errorf("pgroup: process groups: %w", errors.ErrUnsupported)

// Group is one process group. This system has none: Open fails.
type Group struct{}

// Open returns an error that wraps errors.ErrUnsupported.
func Open(pgid int) (*Group, error) { return nil, errUnsupported }

func (*Group) NeedsLeader() bool                    { return false }
func (*Group) Signal(syscall.Signal) error          { return errUnsupported }
func (*Group) Empty() (bool, error)                 { return false, errUnsupported }
func (*Group) Members() ([]proctree.Process, error) { return nil, errUnsupported }
func (*Group) Wait(context.Context) error           { return errUnsupported }
func (*Group) Close() error                         { return nil }
