package corral

import "golang.org/x/sys/unix"

const hangUpEvents = unix.POLLRDHUP

var ttyTellsHangUp error
