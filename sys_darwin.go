package corral

import (
	"errors"
	"fmt"
)

const (
	maxrssUnit   = 1 // getrusage(2) counts bytes here
	hangUpEvents = 0
)

// errTTY is why a terminal cannot report its hang-up: poll(2) does not support
// devices.
var errTTY = fmt.Errorf("macOS cannot report a terminal hang-up: %w", errors.ErrUnsupported)
