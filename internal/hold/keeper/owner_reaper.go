//go:build linux || freebsd

package keeper

import (
	"syscall"

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

// keeperLives reports whether the keeper's first thread has not ended: it is as long
// as that lives that what is below the keeper is found from it. When the keeper is
// killed, its other threads may end later.
func (k *containment) keeperLives() bool {
	row, err := proctree.Brief(k.proc.Pid)
	return err == nil && row.State != proctree.Zombie
}
