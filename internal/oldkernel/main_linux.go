//go:build amd64 || arm64

// Oldkernel runs a command on what looks like an old kernel, or like one that the
// seccomp profile of a container has locked down:
//
//	go run ./internal/oldkernel COMMAND [ARG...]
//
// It is for the tests of what this module does when a better way is refused.
// The command, and all that it starts, get these answers:
//
//   - ENOSYS from pidfd_open, clone3, and waitid with P_PIDFD, and with
//     -no-pidfd-signal from pidfd_send_signal as well;
//   - ENOTTY from ioctl TIOCGPTPEER;
//   - EPERM from unshare and setns, and from clone with a flag for a namespace;
//   - EROFS for every write to a cgroup file system, if root starts it. A seccomp
//     filter cannot see paths, so mounts do this, in a mount namespace of the
//     command's own. What is delegated to another user remains writable for it.
//
// The command runs with no_new_privs, so set-user-ID programs do not work for it.
//
// The command replaces this process. If it cannot, this process writes one line to
// standard error. Its exit status is 127 if there is no such command, 126 if it
// does not start, and else 125, as with env(1).
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

func main() {
	os.Exit(run(os.Args[1:]))
}

// run returns an exit status. If the command starts, run does not return.
func run(args []string) int {
	fail := func(status int, err error) int {
		fmt.Fprintln(os.Stderr, "oldkernel:", err)
		return status
	}
	flags := flag.NewFlagSet("oldkernel", flag.ContinueOnError)
	flags.SetOutput(io.Discard) // the flag package would add the usage
	noPidfdSignal := flags.Bool("no-pidfd-signal", false, "refuse pidfd_send_signal too")
	if err := flags.Parse(args); err != nil {
		return fail(125, err)
	}
	args = flags.Args()
	if len(args) == 0 {
		return fail(125, errors.New("usage: oldkernel [-no-pidfd-signal] COMMAND [ARG...]"))
	}
	// What follows changes one thread: the one that becomes the command.
	runtime.LockOSThread()
	if os.Geteuid() == 0 {
		if err := protectCgroups(); err != nil {
			return fail(125, err)
		}
	}
	path, err := exec.LookPath(args[0])
	if errors.Is(err, exec.ErrNotFound) || errors.Is(err, fs.ErrNotExist) {
		return fail(127, err)
	} else if err != nil {
		return fail(126, err)
	}
	if err := install(filter(*noPidfdSignal)); err != nil {
		return fail(125, err)
	}
	return fail(126, fmt.Errorf("exec %s: %w", path, syscall.Exec(path, args, os.Environ())))
}

// install applies a filter to this thread, and to what it executes.
func install(program []unix.SockFilter) error {
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("set no_new_privs: %w", err)
	}
	prog := &unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]}
	if err := unix.Prctl(unix.PR_SET_SECCOMP, unix.SECCOMP_MODE_FILTER, uintptr(unsafe.Pointer(prog)), 0, 0); err != nil {
		return fmt.Errorf("install the seccomp filter: %w", err)
	}
	return nil
}
