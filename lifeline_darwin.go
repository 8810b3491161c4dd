package corral

import (
	"errors"
	"fmt"
)

const hangUpEvents = 0

// poll(2) of macOS does not support devices.
var errTTY = fmt.Errorf("of a terminal macOS does not tell: %w", errors.ErrUnsupported)
