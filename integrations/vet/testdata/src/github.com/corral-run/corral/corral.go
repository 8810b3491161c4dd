// Package corral is what the analyzer needs to know of the library.
package corral

import (
	"context"
	"os"
	"os/exec"
	"syscall"
	"time"
)

type ExitError = exec.ExitError

type Cmd struct {
	Path        string
	SysProcAttr *syscall.SysProcAttr
	Process     *os.Process
	WaitDelay   time.Duration
	Timeout     time.Duration
	IdleTimeout time.Duration
	Leftovers   LeftoverPolicy
}

type LeftoverPolicy int

const (
	KillLeftovers LeftoverPolicy = iota
	KeepLeftovers
	FailOnLeftovers
	DetachLeftovers
)

func Command(name string, arg ...string) *Cmd                             { return &Cmd{Path: name} }
func CommandContext(ctx context.Context, name string, arg ...string) *Cmd { return &Cmd{Path: name} }

func (c *Cmd) Start() error            { return nil }
func (c *Cmd) Wait() error             { return nil }
func (c *Cmd) Run() error              { return nil }
func (c *Cmd) Output() ([]byte, error) { return nil, nil }
