//go:build !linux && !darwin && !freebsd && !windows

package proctree

import "errors"

// Nothing is known here about processes: every operation says so. Another system
// gets files of its own with these functions, and is excepted by this one's build
// tag.

const known = false

const parentRecycled = true

func snapshot() ([]Process, error)           { return nil, errors.ErrUnsupported }
func survey() ([]Process, error)             { return nil, errors.ErrUnsupported }
func lookup(pid int) (Process, error)        { return Process{}, errors.ErrUnsupported }
func identify(pid int) (ID, error)           { return ID{}, errors.ErrUnsupported }
func group(pgid int) ([]Process, error)      { return nil, errors.ErrUnsupported }
func descendants(pid int) ([]Process, error) { return nil, errors.ErrUnsupported }
func childPIDs(pid int) ([]int, error)       { return nil, errors.ErrUnsupported }
func openHandle(p Process) (handle, error)   { return nil, errors.ErrUnsupported }
func newWatch() (watch, error)               { return nil, errors.ErrUnsupported }
func exhausted(err error) bool               { return false }
func eventDriven() bool                      { return true }
