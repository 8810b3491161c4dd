//go:build !linux

package sigaction

import (
	"os/signal"
	"syscall"
)

func Ignored(sig syscall.Signal) bool { return signal.Ignored(sig) }

func Ignore(sig syscall.Signal) { signal.Ignore(sig) }

func SetDefault(sig syscall.Signal) { signal.Reset(sig) }
