package bare

import "syscall"

// EarlyArgument is the first argument of a keeper that is the program once more, but
// begins before most packages are initialised.
const EarlyArgument = "early"

// Unfit is the status of a stub that has not started anything, as it lacks what it
// needs.
const Unfit = 254

// Spec is what a stub is to do.
type Spec struct {
	Path, Dir string
	Args, Env []string
	Attr      *syscall.SysProcAttr
	Files     []int // the leader's descriptors, as the owner has them; below 0 for none

	StartGroup   int  // to start the leader from, 0 for the keeper's
	LeaveSession bool // once the leader has started
	Keep, Detach bool
	Plan         []Step // for when the owner is gone; the kill follows

	Identity
}

// Step is one step of a plan.
type Step struct {
	Signal int
	Wait   int64 // in milliseconds
}

// Identity is what every stub has.
type Identity struct {
	Line      int // the stub's end
	Title     string
	Owner     int        // its PID
	Arguments [2]uintptr // where the process's arguments begin and end in its memory
}

// GuardSpec is what a stub is to guard.
type GuardSpec struct {
	Home     int    // the directory of the runs' control groups, with the owner's lock
	Base     string // its name
	TryBirth bool   // find out whether a process can be born in it, or the status is Unfit

	Identity

	Helper     string // the program for helpers
	HelperEnv  []string
	HelperArgs []string // of the one that clears what is left
}

// MaxSteps is the most steps that a plan may have.
const MaxSteps = 32
