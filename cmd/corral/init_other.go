//go:build darwin || freebsd || windows

package main

import (
	"errors"
	"os"
	"syscall"

	"github.com/corral-run/corral"
)

// initReady: corral does not get orphans here.
func initReady() error { return errors.New("init works on Linux only; use corral run") }

func passedOn() []os.Signal                           { return caught() }
func (*initFlags) passOn(*corral.Cmd, chan os.Signal) {}
func takeTerminal() *syscall.SysProcAttr              { return nil }
