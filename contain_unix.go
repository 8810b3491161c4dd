//go:build linux || darwin || freebsd

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

	"golang.org/x/sys/unix"

	"github.com/corral-run/corral/internal/helper"
	"github.com/corral-run/corral/internal/wire"
)

// errNoRunner is why there is no runner here.
var errNoRunner error

// contain rewrites cmd. What the caller may still change after this is left where
// the caller looks for it: streams, descriptors, environment, directory, session
// and group. The runner sees them as its own. The rest is in its arguments.
func contain(cmd *exec.Cmd, opts ContainOptions) error {
	if len(cmd.Args) > 0 && cmd.Args[0] == wire.RunnerRole {
		return errors.New("corral: Contain: the command is contained already")
	}
	program, err := helper.Program(HelperPath)
	if err != nil {
		return err
	}
	runners, leaders, err := splitAttr(cmd.SysProcAttr)
	if err != nil {
		return err
	}
	if err := executable(cmd.Path, leaders); err != nil {
		return err
	}
	plan := opts.StopPlan
	if plan == nil {
		plan = DefaultStopPlan()
	}
	spec := &wire.RunnerSpec{
		Attr: leaders, Ignored: helper.IgnoredSignals(), Plan: plan.internal(),
		Containment: string(opts.Containment), Require: string(opts.Require),
	}
	spec.Environ = ownSteering()
	if leaders.Chroot != "" {
		spec.Dir, cmd.Dir = cmd.Dir, ""
	}
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

// What SysProcAttr says of the session, of the group and of the process as its
// parent sees it is the runner's. It stays where it is, because functions that want
// an *exec.Cmd set such fields themselves; the leader gets what the runner finds
// itself to have: see mirror. What a process has for itself is the leader's.
var (
	runnerFields = []string{"Setsid", "Setpgid", "Pgid", "Setctty", "Noctty", "Ctty", "Foreground", "Pdeathsig", "UseCgroupFD", "CgroupFD", "PidFD"}
	leaderFields = []string{"Chroot", "Credential", "Cloneflags", "Unshareflags", "UidMappings", "GidMappings", "GidMappingsEnableSetgroups", "AmbientCaps", "Jail"}
)

// splitAttr returns the runner's part of attr, which is nil if attr is, and the
// leader's.
func splitAttr(attr *syscall.SysProcAttr) (runners, leaders *syscall.SysProcAttr, err error) {
	leaders = new(syscall.SysProcAttr)
	if attr == nil {
		return nil, leaders, nil
	}
	runners = new(syscall.SysProcAttr)
	from := reflect.ValueOf(attr).Elem()
	for i := range from.NumField() {
		name, value := from.Type().Field(i).Name, from.Field(i)
		switch {
		case value.IsZero():
		case slices.Contains(runnerFields, name):
			reflect.ValueOf(runners).Elem().Field(i).Set(value)
		case slices.Contains(leaderFields, name):
			reflect.ValueOf(leaders).Elem().Field(i).Set(value)
		default:
			return nil, nil, fmt.Errorf("corral: Contain: SysProcAttr.%s would be the runner's, not the command's: %w", name, errors.ErrUnsupported)
		}
	}
	return runners, leaders, nil
}

// executable returns the error that Start would return, as far as it can be
// foreseen. The directory of a relative path may still change.
func executable(path string, attr *syscall.SysProcAttr) error {
	if !filepath.IsAbs(path) || attr.Chroot != "" || attr.Credential != nil {
		return nil
	}
	var st unix.Stat_t
	err := unix.Stat(path, &st)
	switch {
	case err != nil:
	case st.Mode&unix.S_IFMT == unix.S_IFDIR:
		err = unix.EACCES
	default:
		err = unix.Faccessat(unix.AT_FDCWD, path, unix.X_OK, unix.AT_EACCESS)
	}
	if errno, ok := err.(syscall.Errno); ok && slices.Contains([]syscall.Errno{unix.ENOENT, unix.EACCES, unix.ENOTDIR, unix.ELOOP, unix.ENAMETOOLONG}, errno) {
		return &fs.PathError{Op: "fork/exec", Path: path, Err: errno}
	}
	return nil
}
