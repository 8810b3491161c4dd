package keeper

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"sync"
	"syscall"

	"github.com/corral-run/corral/internal/helper"
	"github.com/corral-run/corral/internal/hold"
	"github.com/corral-run/corral/internal/proctree"
	"golang.org/x/sys/unix"
)

// Under pidns containment the keeper is the init of a PID namespace
// (pid_namespaces(7)): no member gets out, none can signal it or the owner, and
// however it ends, the kernel kills all members with it. Members see other PIDs,
// and a new /proc in a mount namespace of their own. Without privileges they also
// get a user namespace that has only the owner's user and group, so that
// set-user-ID programs have no effect.

// OpenPIDNS is Open with a PID namespace for the run.
func OpenPIDNS(req hold.Request) (hold.Containment, error) {
	if req.KeepLeftovers {
		return nil, errors.New("leftovers cannot be kept: they end with their PID namespace, which ends with the run")
	}
	if req.Spares {
		return nil, errors.New("no process can be kept or detached: all end with their PID namespace, which ends with the run")
	}
	if err := pidnsProbe(req.HelperPath); err != nil {
		return nil, err
	}
	cont, err := Open(req)
	if err == nil {
		cont.(*containment).pidns = &pidNamespace
	}
	return cont, err
}

// pidnsProbe returns why this process may not make the namespaces and mount a /proc
// in them, or nil if it may. It finds out by trying, once.
func pidnsProbe(helperPath string) error {
	if _, err := helper.Program(helperPath); err != nil {
		return err
	}
	probed.Do(func() { probed.err = probePIDNS(helperPath) })
	return probed.err
}

var probed struct {
	sync.Once
	err error
}

func probePIDNS(helperPath string) error {
	switch told, err := inner("self", os.Getpid()); {
	case err != nil:
		return err
	case !told:
		return errors.New("/proc does not tell the PIDs of other namespaces (NSpid)")
	}
	k, err := Open(hold.Request{HelperPath: helperPath})
	if err != nil {
		return err
	}
	keeper := k.(*containment)
	keeper.pidns = &pidNamespace
	defer keeper.Close()
	// The keeper cannot execute this, but does all else first.
	_, _, err = keeper.Start(&exec.Cmd{Path: "/dev/null/corral-probe", Env: []string{}})
	if errors.Is(err, unix.ENOTDIR) {
		return nil
	}
	if errors.Is(err, os.ErrPermission) || errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EINVAL) {
		return fmt.Errorf("PID or user namespaces are not allowed here: %w", err)
	}
	return err
}

var pidNamespace = namespace{unshare, translate}

// unshare makes the keeper the init of a PID namespace.
func unshare(attr *syscall.SysProcAttr) {
	attr.Cloneflags = syscall.CLONE_NEWPID | syscall.CLONE_NEWNS
	if os.Geteuid() != 0 {
		attr.Cloneflags |= syscall.CLONE_NEWUSER
		attr.UidMappings = []syscall.SysProcIDMap{{ContainerID: os.Geteuid(), HostID: os.Geteuid(), Size: 1}}
		// A user other than root loses all other capabilities by execve(2).
		attr.AmbientCaps = []uintptr{unix.CAP_SYS_ADMIN}
		attr.GidMappings = []syscall.SysProcIDMap{{ContainerID: os.Getegid(), HostID: os.Getegid(), Size: 1}}
	}
}

// translate finds the child of the keeper that has the given identity in the
// namespace.
func translate(keeper int, inside proctree.ID) (proctree.ID, error) {
	pids, err := proctree.ChildPIDs(keeper)
	for _, pid := range pids {
		if found, err := inner(strconv.Itoa(pid), inside.PID); err == nil && found {
			return proctree.Identify(pid)
		}
	}
	if err == nil {
		err = fmt.Errorf("the leader, %d inside, is not among the keeper's children", inside.PID)
	}
	return proctree.ID{}, err
}

// inner reports whether the process has the PID in its own namespace or in one
// further out that it is a member of.
func inner(process string, pid int) (bool, error) {
	status, err := os.ReadFile("/proc/" + process + "/status")
	if err != nil {
		return false, err
	}
	for line := range bytes.Lines(status) {
		if rest, ok := bytes.CutPrefix(line, []byte("NSpid:")); ok {
			numbers := bytes.Fields(rest)
			// The leader may live in a namespace further down.
			return slices.ContainsFunc(numbers[min(1, len(numbers)-1):], func(n []byte) bool { return string(n) == strconv.Itoa(pid) }), nil
		}
	}
	return false, nil
}
