package corral

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"syscall"

	"golang.org/x/sys/windows"

	"github.com/corral-run/corral/internal/helper"
	"github.com/corral-run/corral/internal/wire"
)

// errNoRunner is why there is no runner here.
var errNoRunner error

// contain rewrites cmd. Streams, environment and directory stay where the caller looks
// for them, and are the runner's, which has no others. The rest is in its arguments.
func contain(cmd *exec.Cmd, opts ContainOptions) error {
	if len(cmd.Args) > 0 && cmd.Args[0] == wire.RunnerRole {
		return errors.New("corral: Contain: the command is contained already")
	}
	program, err := helper.Program(HelperPath)
	if err != nil {
		return err
	}
	runners, spec, err := splitAttr(cmd.SysProcAttr)
	if err != nil {
		return err
	}
	if err := executable(cmd.Path); err != nil {
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

// What of SysProcAttr is for the runner, and stays where it is. The leader gets what
// the fields of a RunnerSpec have. Handles that are inherited have the same numbers in
// each process.
var runnerFields = []string{"HideWindow", "CreationFlags", "ProcessAttributes", "ThreadAttributes", "AdditionalInheritedHandles"}

const (
	// leaderFlags are for the runner and for the leader. The leader has the console and
	// the jobs of the runner, for whom all other flags are. A program without a console would
	// get one, from a parent that has none.
	leaderFlags = windows.DETACHED_PROCESS | windows.IDLE_PRIORITY_CLASS | windows.BELOW_NORMAL_PRIORITY_CLASS |
		windows.NORMAL_PRIORITY_CLASS | windows.ABOVE_NORMAL_PRIORITY_CLASS | windows.HIGH_PRIORITY_CLASS | windows.REALTIME_PRIORITY_CLASS
	debugFlags = windows.DEBUG_PROCESS | windows.DEBUG_ONLY_THIS_PROCESS
)

// splitAttr returns the runner's part of attr, which is nil if attr is, and a spec with
// the leader's.
func splitAttr(attr *syscall.SysProcAttr) (runners *syscall.SysProcAttr, spec *wire.RunnerSpec, err error) {
	spec = new(wire.RunnerSpec)
	if attr == nil {
		return nil, spec, nil
	}
	if attr.CreationFlags&debugFlags != 0 {
		return nil, nil, fmt.Errorf("corral: Contain: with DEBUG_PROCESS in SysProcAttr.CreationFlags the runner would be debugged, not the command: %w", errors.ErrUnsupported)
	}
	runners = new(syscall.SysProcAttr)
	from := reflect.ValueOf(attr).Elem()
	for i := range from.NumField() {
		name, value := from.Type().Field(i).Name, from.Field(i)
		switch {
		case value.IsZero() || name == "CmdLine":
		case slices.Contains(runnerFields, name):
			reflect.ValueOf(runners).Elem().Field(i).Set(value)
		default:
			return nil, nil, fmt.Errorf("corral: Contain: SysProcAttr.%s would be the runner's, not the command's: %w", name, errors.ErrUnsupported)
		}
	}
	spec.CommandLine, spec.HideWindow, spec.Flags = attr.CmdLine, attr.HideWindow, attr.CreationFlags&leaderFlags
	for _, h := range attr.AdditionalInheritedHandles {
		spec.Handles = append(spec.Handles, uintptr(h))
	}
	return runners, spec, nil
}

// executable returns the error that Start would return, as far as it can be
// foreseen. The directory of a relative path may still change.
func executable(path string) error {
	if !filepath.IsAbs(path) {
		return nil
	}
	if filepath.Ext(path) == "" {
		_, err := exec.LookPath(path)
		return err
	}
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return &fs.PathError{Op: "fork/exec", Path: path, Err: errors.Unwrap(err)}
	}
	return nil
}
