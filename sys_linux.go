package corral

import "golang.org/x/sys/unix"

const (
	maxrssUnit   = 1024           // getrusage(2) counts kilobytes
	hangUpEvents = unix.POLLRDHUP // a socket's other end sends nothing any more
)

// errTTY is why a terminal cannot report its hang-up: it can.
var errTTY error
