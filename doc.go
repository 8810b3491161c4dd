// Package corral runs commands and leaves nothing of them behind: it replaces
// os/exec by changing one word.
//
// A run is a command, its leader, and everything that it starts, its members.
// When the leader has ended, what is alive of the others is a leftover, and is
// stopped (or kept, waited for, or an error: see [LeftoverPolicy]). When the run's time or
// context ends, or [Cmd.Stop] is called, all members are stopped, by the steps
// of a [StopPlan] and in the end by force. [Cmd.Report] says what happened.
//
// What can be promised depends on the containment, the kernel mechanism that
// knows the members, and on the system.
//
//	containment  where    can escape, owner alive               owner gets SIGKILL                         state
//	pidns        Linux    nothing                               the keeper stops all, the kernel the rest  tested
//	job          Windows  nothing                               the kernel kills all                       tested under Wine
//	cgroup       Linux    a privileged member                   the guard stops all                        tested
//	keeper       Linux    nothing, unless the keeper is killed  the keeper stops all                       tested
//	keeper       FreeBSD  nothing, unless the keeper is killed  the keeper stops all                       built, not yet run
//	keeper       macOS    a quick double fork                   the keeper stops what it knows             built, not yet run
//	group        Linux    setsid, setpgid                       only the leader is killed                  tested
//	group        FreeBSD  setsid, setpgid                       only the leader is killed                  built, not yet run
//	group        macOS    setsid, setpgid                       nothing is killed                          built, not yet run
//
// On macOS, which gives orphans to launchd, the keeper follows the members: it
// looks at the process table whenever one of them forks, executes a program or
// ends. An orphan whose parent was forked and ended between two looks is lost if it
// is in the process group that the leader was started in, or in a session or a
// group that the parent has made (setsid(2)); [Report.BestEffort] says so.
//
// The owner is the program that uses this package. [Auto] takes the strongest
// containment that works here, but for pidns, which is there on request; every
// Report names the one obtained and the stronger ones that were not to be had;
// [Cmd.Require] makes less an error. For tests under the containment that others
// will get, CORRAL_AUTO=keeper, or another one, in the environment of the owner
// lowers Auto. On other systems Start returns an error that
// wraps errors.ErrUnsupported.
//
// Guard and keeper are helper processes: the running program once more, which
// this package's init recognises by its name and by a socket for standard input,
// before main. A keeper is between the owner and the leader of one run, for as
// long as the run lives. The guard is there for all runs in control groups,
// from the first one until ten seconds after the last one. A member that kills the
// keeper loses the leader, and may leave what had lost its parent before: see
// [ErrKeeperLost] and [Cmd.AdoptOrphans].
//
// A command that is to outlive the owner is let go by [DetachLeftovers], or as under
// os/exec by Process.Release: see [Cmd.Process].
//
// A command can have a terminal of its own: see [PTY].
//
// The package installs no signal handler and reaps nothing but what it has
// started, unless Cmd.AdoptOrphans asks for it, and leaves no goroutine when a
// run is over, but for one that reads what a process writes which was kept on request
// ([LeftoverPolicy]).
package corral
