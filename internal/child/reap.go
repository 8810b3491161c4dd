//go:build linux || freebsd

package child

import "golang.org/x/sys/unix"

// Reap reaps a child if it has ended. One that is none has not: gVisor lists the
// threads of children among them, for as long as these live.
func Reap(pid int) bool {
	for {
		got, err := unix.Wait4(pid, nil, unix.WNOHANG|anyChild, nil)
		if err != unix.EINTR {
			return got == pid
		}
	}
}
