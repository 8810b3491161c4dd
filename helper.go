package corral

import (
	"github.com/corral-run/corral/internal/hold"
)

// HelperPath is the program that the keeper and the guard are started from, if
// it is not empty: one that imports this package, of the same version. It is to
// be set before the first run. PATH is not searched for it. One that is not there is an
// error of Start.
//
// By default it is the running program, which is right unless that is not a Go
// program, such as one that has loaded this package as a shared library.
//
// By default, then, package init functions of the running program run again before
// those of this package do: once for every run under a keeper, and once for the guard of
// all runs under cgroup. They are those of packages that do not import this one, and that Go
// initialises before it, by the order of import paths. What they take, each such run takes
// longer, and what they do is done again: a file is written once more. The functions of
// package main do not run, nor those of any other package that imports this one. Where that
// matters, name the command corral of the same version, which has next to nothing to initialise:
//
//	corral.HelperPath = "/usr/local/bin/corral"
var HelperPath string

// ErrKeeperLost is returned by Wait, if os/exec would not return anything or together
// with other errors, when somebody has killed the run's keeper; Report.KeeperLost says so
// always. The leader has been killed, and of the other members those that
// Corral had seen: all, if a stop was under way or Cmd.Members had been called.
// Those that it had not seen may be left, and are not the owner's to see any
// more, unless it has asked for Cmd.AdoptOrphans.
var ErrKeeperLost = hold.ErrKeeperLost
