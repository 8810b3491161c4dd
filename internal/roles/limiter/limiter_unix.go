//go:build linux || darwin || freebsd

package limiter

import (
	"os"
	"syscall"

	"github.com/corral-run/corral/internal/disposition"
	"github.com/corral-run/corral/internal/helper"
	"github.com/corral-run/corral/internal/wire"
)

func init() { helper.LineRole(wire.LimiterRole, run) }

// run does not return. The line is close-on-exec, so that its end tells the owner.
// This goroutine is locked to the main thread, which executes the command.
func run(line int) {
	f := os.NewFile(uintptr(line), wire.LimiterRole)
	spec := new(wire.LimiterSpec)
	if wire.Receive(f, spec, wire.MaxSpec) != nil {
		syscall.Exit(1)
	}
	fail := func(what string, err error) {
		errno, ok := err.(syscall.Errno)
		if !ok {
			errno = syscall.EINVAL
		}
		f.Write(wire.Frame(&wire.LimiterEvent{Errno: errno, Text: what}))
		syscall.Exit(1)
	}
	for _, sig := range spec.Ignored {
		disposition.Ignore(sig)
	}
	for _, limit := range spec.Limits {
		if err := setLimit(limit.Resource, limit.Value); err != nil {
			fail("set the limit of "+names[limit.Resource], err)
		}
	}
	if err := change(spec); err != nil {
		fail("", err)
	}
	f.Write(wire.Frame(&wire.LimiterEvent{Ready: true}))
	if !told(line) {
		syscall.Exit(1)
	}
	// From here on there may be no thread to be had, and little memory. Exec gives the
	// limit of open files back that package syscall has raised, unless it has been set.
	fail("", syscall.Exec(spec.Path, spec.Args, spec.Env))
}

var names = map[int]string{syscall.RLIMIT_NOFILE: "open files", syscall.RLIMIT_FSIZE: "the size of files", syscall.RLIMIT_CORE: "core files"}

// setLimit sets both limits of a resource. A hard limit that is lower stays.
func setLimit(resource int, value int64) error {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(resource, &limit); err != nil {
		return err
	}
	set(&limit.Cur, &limit.Max, value)
	return syscall.Setrlimit(resource, &limit)
}

// set is for the types that the fields have on one system and the other. No limit is
// the largest number, or -1.
func set[T int64 | uint64](soft, hard *T, value int64) {
	if uint64(value) < uint64(*hard) {
		*hard = T(value)
	}
	*soft = *hard
}

// change does what os/exec does in a child, in the same order.
func change(spec *wire.LimiterSpec) error {
	if root := spec.Attr.Chroot; root != "" {
		if err := syscall.Chroot(root); err != nil {
			return err
		}
	}
	restore := keep(spec.Attr)
	if cred := spec.Attr.Credential; cred != nil {
		if err := become(cred); err != nil {
			return err
		}
	}
	if err := restore(); err != nil {
		return err
	}
	if spec.Dir == "" {
		return nil
	}
	return syscall.Chdir(spec.Dir)
}

func become(cred *syscall.Credential) error {
	if !cred.NoSetGroups {
		groups := make([]int, len(cred.Groups))
		for i, g := range cred.Groups {
			groups[i] = int(g)
		}
		if err := syscall.Setgroups(groups); err != nil {
			return err
		}
	}
	if err := syscall.Setgid(int(cred.Gid)); err != nil {
		return err
	}
	return syscall.Setuid(int(cred.Uid))
}
