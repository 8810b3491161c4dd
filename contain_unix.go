//go:build linux || darwin || freebsd

package corral

import (
	"errors"
	"fmt"
	"io/fs"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/corral-run/corral/internal/helper"
	"github.com/corral-run/corral/internal/wire"
)

// split returns what is the runner's of cmd's attributes, and a spec with what is the
// leader's. The runner has the caller's streams, descriptors, environment, directory,
// session and group, and the leader gets what the runner has.
func split(cmd *exec.Cmd) (runners *syscall.SysProcAttr, spec *wire.RunnerSpec, err error) {
	runners, leaders, err := splitAttr(cmd.SysProcAttr)
	if err != nil {
		return nil, nil, err
	}
	if err := executable(cmd.Path, leaders); err != nil {
		return nil, nil, err
	}
	spec = &wire.RunnerSpec{Attr: leaders, Ignored: helper.IgnoredSignals()}
	if leaders.Chroot != "" {
		if cmd.Dir != "" && cmd.Env == nil {
			cmd.Env = cmd.Environ() // with PWD, for which Start sees no reason any more
		}
		spec.Dir, cmd.Dir = cmd.Dir, ""
	}
	return wokenAtParentsDeath(runners), spec, nil
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
