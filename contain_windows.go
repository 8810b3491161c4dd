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

	"github.com/corral-run/corral/internal/wire"
)

// split returns what is the runner's of cmd's attributes, and a spec with what is the
// leader's. The runner has the caller's streams, environment and directory, and no
// others.
func split(cmd *exec.Cmd) (runners *syscall.SysProcAttr, spec *wire.RunnerSpec, err error) {
	runners, spec, err = splitAttr(cmd.SysProcAttr)
	if err != nil {
		return nil, nil, err
	}
	return runners, spec, executable(cmd.Path)
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
