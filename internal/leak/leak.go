// Package leak finds goroutines that tests leave behind.
package leak

import (
	"fmt"
	"runtime"
	"slices"
	"strings"
	"time"
)

// Goroutines are the goroutines of one moment, by "goroutine NUMBER".
type Goroutines map[string]bool

// Now returns the goroutines that there are now.
func Now() Goroutines {
	now := make(Goroutines)
	for _, trace := range traces() {
		now[name(trace)] = true
	}
	return now
}

// patience is for goroutines that are about to end, on a machine that may not run them
// for seconds.
var patience = 30 * time.Second

// Since returns an error with the traces of those goroutines that are new since
// before, and do not end soon. It is nil if there are none.
func Since(before Goroutines) error {
	for deadline := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		left := slices.DeleteFunc(traces(), func(trace string) bool { return before[name(trace)] || lasting(trace) })
		if len(left) == 0 {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%d goroutines are left:\n%s", len(left), strings.Join(left, "\n\n"))
		}
	}
}

// lasting reports whether a goroutine is one that the standard library starts once,
// for os/signal.
func lasting(trace string) bool {
	return strings.Contains(trace, "\nos/signal.loop()") || strings.Contains(trace, "\nruntime.ensureSigM")
}

func name(trace string) string {
	name, _, _ := strings.Cut(trace, " [")
	return name
}

// traces returns the traces of all goroutines.
func traces() []string {
	for size := 64 << 10; ; size *= 2 {
		buf := make([]byte, size)
		if n := runtime.Stack(buf, true); n < size {
			return strings.Split(strings.TrimSpace(string(buf[:n])), "\n\n")
		}
	}
}
