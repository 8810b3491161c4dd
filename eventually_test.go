package corral_test

import (
	"testing"
	"time"
)

// eventually waits for what the kernel has no event for. Its bound is for what never
// happens: a busy machine takes its time.
func eventually(t *testing.T, otherwise string, happens func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !happens(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal(otherwise)
		}
	}
}
