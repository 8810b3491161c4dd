//go:build linux || darwin || freebsd || windows

package corral

import (
	"errors"
	"os"
	"os/exec"
	"slices"

	"github.com/corral-run/corral/internal/helper"
	"github.com/corral-run/corral/internal/wire"
)

// errNoRunner is why there is no runner here.
var errNoRunner error

// contain rewrites cmd. What the caller may still change after this is left where
// the caller looks for it, and is the runner's; the rest is in the runner's arguments.
func contain(cmd *exec.Cmd, opts ContainOptions) error {
	if len(cmd.Args) > 0 && cmd.Args[0] == wire.RunnerRole {
		return errors.New("corral: Contain: the command is contained already")
	}
	program, err := helper.Program(HelperPath)
	if err != nil {
		return err
	}
	runners, spec, err := split(cmd)
	if err != nil {
		return err
	}
	plan := opts.StopPlan
	if plan == nil {
		plan = DefaultStopPlan()
	}
	spec.Plan, spec.Environ = plan.internal(), ownSteering()
	spec.Containment, spec.Require = string(opts.Containment), string(opts.Require)
	args := cmd.Args
	if len(args) == 0 {
		args = []string{cmd.Path}
	}
	if cmd.Env != nil { // else it is this program's, with which this program gets along
		cmd.Env = holdBack(cmd.Env, os.Environ(), spec)
	}
	cmd.Args = slices.Concat(helper.RunnerArguments(wire.RunnerRole, HelperPath), []string{spec.String(), cmd.Path}, args)
	cmd.Path, cmd.SysProcAttr = program, runners
	return nil
}
