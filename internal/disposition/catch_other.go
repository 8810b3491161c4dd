//go:build darwin || freebsd || (linux && !amd64 && !arm64)

package disposition

import (
	"os"
	"syscall"
)

// Catch does nothing here.
func Catch(syscall.Signal) (*os.File, error) { return nil, nil }
