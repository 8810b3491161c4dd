package reach

import (
	"fmt"
	"math"
)

// RefusedError says that an operation was refused before anything was signalled,
// because ID cannot be meant: kill(2) takes 0, 1 and negative numbers for something
// other than one process or group, and a program that signals itself or its own
// group does not live to do the rest.
type RefusedError struct {
	ID     int    // the PID or PGID as given, or as found through a member
	Reason string // why it is refused
}

func (e *RefusedError) Error() string {
	return fmt.Sprintf("refusing to signal %d: %s", e.ID, e.Reason)
}

// CheckID returns a *RefusedError for a number that is no PID or PGID of an
// ordinary process: 0, 1, negative ones, and those beyond 32 bits, which would
// turn into others (-1, for one) on their way into the kernel.
func CheckID(id int) error {
	switch {
	case id < 0:
		return &RefusedError{id, "it is negative"}
	case id == 0:
		return &RefusedError{id, "0 means the caller's own group"}
	case id == 1:
		return &RefusedError{id, "1 is init"}
	case int64(id) > math.MaxInt32:
		return &RefusedError{id, "it is larger than any process ID"}
	}
	return nil
}
