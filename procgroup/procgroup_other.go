//go:build !unix && !windows

package procgroup

import (
	"os/exec"
	"syscall"

	"github.com/corral-run/corral/internal/proctree"
)

func setProcessGroup() error                              { return errSystem }
func detachFromTTY() error                                { return errSystem }
func setParentDeathSignal(int) error                      { return errSystem }
func setAttrProcessGroup(*syscall.SysProcAttr) error      { return errSystem }
func setAttrDetached(*syscall.SysProcAttr) error          { return errSystem }
func setAttrParentDeathSignal(*syscall.SysProcAttr) error { return errSystem }
func openGroup(int) (target, error)                       { return nil, errSystem }
func openGroupOf(int) (target, error)                     { return nil, errSystem }
func openGroupOfCmd(*exec.Cmd) (target, error)            { return nil, errSystem }
func openTree(int) (target, error)                        { return nil, errSystem }
func (Signal) asksPermission() bool                       { return false }
func denied(proctree.Process) error                       { return errSystem }
