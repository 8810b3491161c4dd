package corral

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"reflect"
	"runtime"
	"strings"
	"unsafe"
)

// Wrap returns a Cmd with the fields, the context and the pipes of cmd. It replaces
// a Cancel set by exec.CommandContext with the stop plan. If cmd cannot be wrapped,
// Start returns the reason.
//
// cmd must not have been started, and must not be used any more. Only its Process
// and ProcessState are set as the returned Cmd's are, for a Cancel that looks at
// them.
func Wrap(cmd *exec.Cmd) *Cmd {
	c := &Cmd{
		Path: cmd.Path, Args: cmd.Args, Env: cmd.Env, Dir: cmd.Dir,
		Stdin: cmd.Stdin, Stdout: cmd.Stdout, Stderr: cmd.Stderr,
		ExtraFiles: cmd.ExtraFiles, SysProcAttr: cmd.SysProcAttr,
		Err: cmd.Err, Cancel: cmd.Cancel, WaitDelay: cmd.WaitDelay,
		wrapped: cmd,
	}
	ctx, okCtx := unexported[context.Context](cmd, "ctx")
	child, okChild := unexported[[]io.Closer](cmd, "childIOFiles")
	parent, okParent := unexported[[]io.Closer](cmd, "parentIOPipes")
	switch {
	case cmd.Process != nil:
		c.Err = errors.New("corral: Wrap: the command has been started")
	case !okCtx || !okChild || !okParent:
		c.Err = fmt.Errorf("corral: Wrap: this version of os/exec (%s) is not known; use corral.Command", runtime.Version())
	default:
		c.stdio.child, *child = *child, nil
		c.stdio.parent, *parent = *parent, nil
		c.stdio.adopt(c.Stdin, c.Stdout, c.Stderr)
		if *ctx != nil {
			custom := cmd.Cancel
			c.setContext(*ctx)
			if !setByCommandContext(custom) {
				c.Cancel = custom
			}
		}
	}
	return c
}

// unexported gives access to a field for which exec.Cmd has no method.
func unexported[T any](cmd *exec.Cmd, name string) (*T, bool) {
	f := reflect.ValueOf(cmd).Elem().FieldByName(name)
	if !f.IsValid() || f.Type() != reflect.TypeFor[T]() {
		return nil, false
	}
	return (*T)(unsafe.Pointer(f.UnsafeAddr())), true
}

// setByCommandContext reports whether f is the Cancel that exec.CommandContext
// sets, which kills only the leader.
func setByCommandContext(f func() error) bool {
	if f == nil {
		return false
	}
	fn := runtime.FuncForPC(reflect.ValueOf(f).Pointer())
	return fn != nil && strings.HasPrefix(fn.Name(), "os/exec.CommandContext.")
}
