//go:build !unix && !windows

package osproc

import (
	"os"
)

// Released is false: nothing is ever started here.
func Released(*os.Process) bool { return false }
