//go:build darwin || freebsd

package pgtest

import (
	"os"
	"testing"
)

var self = func() string {
	path, err := os.Executable()
	if err != nil {
		panic(err)
	}
	return path
}()

// threadsEnd: the main thread of a process can end without the others.
const threadsEnd = false

func exitThread() { panic("pgtest: Headless is for Linux") }

// Recycle skips the test: PIDs cannot be chosen here.
func Recycle(t testing.TB, pid int) Bystander {
	t.Helper()
	t.Skip("SKIPPED, needs Linux, to have a PID given out again")
	panic("unreachable")
}
