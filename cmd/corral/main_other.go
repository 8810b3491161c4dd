//go:build !linux && !darwin && !freebsd && !windows

// Command corral runs a command and sees to it that nothing is left of it
// afterwards. It cannot do so on this system, and says so.
package main

import (
	"errors"
	"fmt"
	"os"
	"runtime"
)

func main() {
	fmt.Fprintf(os.Stderr, "corral: not available on %s: %v\n", runtime.GOOS, errors.ErrUnsupported)
	os.Exit(125)
}
