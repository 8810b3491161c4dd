//go:build linux || darwin || freebsd

package helper

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// LineRole is Role for a helper that becomes a command. It has the command's standard
// streams, so its line has another number, which is its first argument. There, LineRole
// calls run with it and does not return.
//
// It is granted as other roles are (see become), but for this: its parent may be a
// keeper, which is another process than the owner.
func LineRole(name string, run func(line int)) {
	if slices.Contains(roles, name) {
		panic("helper: there are two roles " + name)
	}
	roles = append(roles, name)
	const number, fewest = 1, 2
	if len(os.Args) < fewest || os.Args[0] != name {
		return
	}
	line, err := strconv.Atoi(os.Args[number])
	if err == nil && line <= 2 {
		err = errors.New("its arguments are not a helper's")
	}
	if err == nil {
		if err = distrusted(); err == nil {
			err = verifyPeer(line, slices.Contains(os.Args[1:], NamedByOwner))
		}
	}
	if err != nil {
		os.Stderr.WriteString("corral: refused to be a helper: " + err.Error() + "\n")
		syscall.Exit(1)
	}
	unix.CloseOnExec(line)
	run(line)
	syscall.Exit(1)
}

// verifyPeer returns an error unless the other end of the line was made by a process
// of the same user that runs the same program, or has named this one by HelperPath.
func verifyPeer(line int, named bool) error {
	if name, err := unix.Getsockname(line); err != nil {
		return os.NewSyscallError("getsockname", err)
	} else if _, ok := name.(*unix.SockaddrUnix); !ok {
		return fmt.Errorf("descriptor %d is no line to an owner", line)
	}
	pid, uid, err := peerOf(line)
	switch {
	case err != nil:
		return err
	case uid != os.Geteuid():
		return fmt.Errorf("the owner has another id: user %d", uid)
	case !named && pid > 0 && !sameProgram(pid): // 0 is outside this PID namespace
		return fmt.Errorf("the owner, process %d, runs another program, and has not named this one by HelperPath", pid)
	}
	return nil
}
