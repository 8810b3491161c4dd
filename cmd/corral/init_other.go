//go:build darwin || freebsd || windows

package main

import (
	"errors"
	"os"
	"syscall"

	"github.com/corral-run/corral"
)

// checkInit: orphans do not come to corral here.
func checkInit() error { return errors.New("init works on Linux only; use corral run") }

func initSignals() []os.Signal                       { return runSignals() }
func (*initFlags) relay(*corral.Cmd, chan os.Signal) {}
func takeTerminal() *syscall.SysProcAttr             { return nil }
