//go:build darwin || freebsd

package limiter

import (
	"syscall"

	"github.com/corral-run/corral/internal/wire"
)

// told waits for the owner's word.
func told(line int) bool {
	var b [1]byte
	for {
		n, err := syscall.Read(line, b[:])
		if err != syscall.EINTR {
			return err == nil && n == 1 && b[0] == wire.LimiterGo
		}
	}
}

// keep: FreeBSD's parent-death signal stays when the ids change by
// setuid(2) (procctl(2)), and macOS has none.
func keep(*syscall.SysProcAttr) (restore func() error) { return func() error { return nil } }
