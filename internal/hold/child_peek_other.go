//go:build unix && !linux && !freebsd

package hold

import "os"

// DeathOfParent is nothing: there is no parent-death signal on this system.
const DeathOfParent = DeathIsNothing

// Peek knows nothing: waitid(2) does not tell of usage on this system.
func (c *Child) Peek() *os.ProcessState { return nil }
