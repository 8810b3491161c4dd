//go:build unix && !linux && !darwin

package corral

const (
	maxrssUnit   = 1024 // getrusage(2) counts kilobytes
	hangUpEvents = 0
)

// errTTY is why a terminal cannot report its hang-up: it can.
var errTTY error
