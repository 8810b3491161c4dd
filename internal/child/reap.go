//go:build linux || freebsd

package child

import "golang.org/x/sys/unix"

// Reap reaps a child if it has ended, and reports whether it did. It does nothing
// to a PID that is not a child's: gVisor lists the threads of children among them
// while these live.
func Reap(pid int) bool {
	for {
		got, err := unix.Wait4(pid, nil, unix.WNOHANG|anyChild, nil)
		if err != unix.EINTR {
			return got == pid
		}
	}
}
