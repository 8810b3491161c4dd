package corral

import (
	"fmt"
	"sync"

	"golang.org/x/sys/unix"
)

var ladder = []mechanism{
	{PIDNS, openPIDNS},
	{Cgroup, openCgroup},
	{Keeper, openKeeper},
	{Group, openGroup},
}

// canWait returns why this process cannot learn that a command has ended, nil if it
// can. A seccomp filter may forbid what it takes.
var canWait = sync.OnceValue(func() error {
	err := unix.Waitid(unix.P_ALL, 0, nil, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil)
	if err == nil || err == unix.ECHILD || err == unix.EINTR {
		return nil
	}
	return fmt.Errorf("waitid(2) does not work here: %w", err)
})
