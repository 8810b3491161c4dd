//go:build linux || freebsd

package keeper

import (
	"syscall"

	"github.com/corral-run/corral/internal/child"
	"github.com/corral-run/corral/internal/proctree"
)

// escapes says what gets away unseen: nothing does.
const escapes = ""

// dieWithKeeper has the kernel kill the leader with the keeper: on Linux with
// its main thread, from which it starts the leader (prctl(2)), on FreeBSD with
// the process (procctl(2)).
func dieWithKeeper(attr *syscall.SysProcAttr) {
	if attr.Pdeathsig == 0 {
		attr.Pdeathsig = syscall.SIGKILL
	}
}

// adopted returns the members that the keeper has: see MoreBelowMainThread about
// those known.
func (k *containment) adopted(known []proctree.Process) ([]proctree.Process, error) {
	return proctree.MoreBelowMainThread(k.proc.Pid, known)
}

// keeperLives reports whether the keeper has not ended. It has its children for as
// long.
func (k *containment) keeperLives() bool {
	pid, _, _, err := child.Peek(k.proc.Pid)
	return err == nil && pid == 0
}
