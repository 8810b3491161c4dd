//go:build !(linux && (amd64 || arm64))

package stub

import (
	"errors"
	"syscall"

	"github.com/corral-run/corral/internal/stop"
	"github.com/corral-run/corral/internal/stub/bare"
)

// Suits is false: there are no stubs here.
func Suits(*syscall.SysProcAttr, stop.Plan) bool { return false }

// Possible returns why there can be no stubs.
func Possible() error { return errors.ErrUnsupported }

// Usable returns why there can be no stub.
func Usable() error { return errors.ErrUnsupported }

// Identity returns nothing.
func Identity(string, int) bare.Identity { return bare.Identity{} }

// Start returns an error.
func Start(*bare.Spec) (pid int, err error) { return 0, errors.ErrUnsupported }

// Message returns an error.
func Message(*bare.Spec, int) (head, body []byte, err error) { return nil, nil, errors.ErrUnsupported }

// StartGuard returns an error.
func StartGuard(*bare.GuardSpec) (pid int, err error) { return 0, errors.ErrUnsupported }
