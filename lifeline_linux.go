package corral

import "golang.org/x/sys/unix"

const hangUpEvents = unix.POLLRDHUP

// errTTY is why a terminal does not tell that it has been hung up: it does.
var errTTY error
