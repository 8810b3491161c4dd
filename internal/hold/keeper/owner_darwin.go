package keeper

import (
	"syscall"

	"github.com/corral-run/corral/internal/proctree"
)

// escapes says what gets away unseen.
const escapes = "a process whose parent was started and ended between two looks at the process table"

// dieWithKeeper does nothing: there is no parent-death signal.
func dieWithKeeper(*syscall.SysProcAttr) {}

// adopted returns the members, which only the keeper knows.
func (k *containment) adopted([]proctree.Process) ([]proctree.Process, error) { return k.ask() }

// keeperLives is for systems where the members are looked for below the keeper.
func (k *containment) keeperLives() bool { return true }
