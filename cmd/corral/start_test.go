//go:build linux || darwin || freebsd || windows

package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/corral-run/corral"
	"github.com/corral-run/corral/internal/winetest"
)

func TestStartError(t *testing.T) {
	notDirectory := 126
	if errors.Is(syscall.ENOTDIR, fs.ErrNotExist) { // on Windows, where it is ERROR_PATH_NOT_FOUND
		notDirectory = 127
	}
	t.Setenv("PATH", winetest.TempDir(t))
	for _, tt := range []struct {
		err    error
		status int
		want   string
	}{
		{&exec.Error{Name: "x", Err: exec.ErrNotFound}, 127, "x: command not found"},
		{&exec.Error{Name: "./x", Err: fs.ErrPermission}, 126, "x: permission denied"},
		{&exec.Error{Name: "x", Err: exec.ErrDot}, 126, "x: it is in the working directory, which is in PATH; to run it, give its path: " + filepath.FromSlash("./x")},
		{&fs.PathError{Op: "fork/exec", Path: "./x", Err: syscall.ENOENT}, 127, "x: " + syscall.ENOENT.Error()},
		{&fs.PathError{Op: "fork/exec", Path: "./x", Err: syscall.EACCES}, 126, "x: " + syscall.EACCES.Error()},
		{&fs.PathError{Op: "fork/exec", Path: "./x", Err: errNotExecutable}, 126, "x: " + errNotExecutable.Error()},
		{fmt.Errorf("corral: %w", &fs.PathError{Op: "fork/exec", Path: "./x", Err: errNotExecutable}), 126, "x: " + errNotExecutable.Error()},
		{&fs.PathError{Op: "fork/exec", Path: "./x", Err: syscall.ENOTDIR}, notDirectory, "x: " + syscall.ENOTDIR.Error()},
		{&fs.PathError{Op: "fork/exec", Path: "./x", Err: syscall.E2BIG}, 126, "x: " + syscall.E2BIG.Error()},
		{&fs.PathError{Op: "fork/exec", Path: "./x", Err: syscall.ENOMEM}, 125, "x: " + syscall.ENOMEM.Error()},
		// Not about the command: the containment could not be made.
		{&fs.PathError{Op: "mkdir", Path: "/sys/fs/cgroup/x", Err: syscall.EACCES}, 125, "mkdir /sys/fs/cgroup/x: " + syscall.EACCES.Error()},
		{&corral.ContainmentError{Required: corral.Job}, 125, (&corral.ContainmentError{Required: corral.Job}).Error()},
	} {
		var e *exitError
		if err := startError("x", tt.err); !errors.As(err, &e) || e.status != tt.status || e.Error() != tt.want {
			t.Errorf("startError(%v) = %v, %q; want %v, %q", tt.err, e.status, e.Error(), tt.status, tt.want)
		}
	}
}
