// Package corral runs commands and leaves none of their processes behind. It
// replaces os/exec by changing one word:
//
//	cmd := corral.CommandContext(ctx, "npm", "test") // was: exec.CommandContext
//	err := cmd.Run()
//
// When the command ends, times out or is cancelled, every process that it started is
// stopped: by the steps of a [StopPlan], and in the end by force. That also happens
// when the calling program is killed. [Cmd.Report] says what was left.
//
// # Words
//
// A run is a command and everything it starts. The command's own process is the
// leader; all processes of the run are its members. The owner is the program that
// uses this package. Members that are alive when the leader has ended are leftovers.
// They are stopped, or kept, waited for, or made an error: see [LeftoverPolicy].
//
// # Containment
//
// What can be promised depends on the system and on the containment, the kernel
// mechanism that knows the members.
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
// [Auto] takes the strongest containment that works here, except pidns, which must be
// asked for. Every Report names the containment obtained, and the stronger ones that
// were not available. [Cmd.Require] makes a weaker one an error. To test under the
// containment that others will get, set CORRAL_AUTO=keeper, or another one, in the
// environment of the owner: it lowers Auto. On systems that are not in the table,
// Start returns an error that wraps errors.ErrUnsupported.
//
// macOS gives orphans to launchd. So the keeper follows the members there: it looks
// at the process table whenever one of them forks, executes a program or ends. It
// loses an orphan whose parent was forked and ended between two looks, if the
// orphan is in the process group that the leader was started in, or in a session or
// a group that the parent has made (setsid(2)). [Report.BestEffort] says so.
//
// # Helper processes
//
// A keeper is between the owner and the leader of one run, for as long as the run
// lives. One guard serves all runs in control groups, from the first one until ten
// seconds after the last one. A member that kills the keeper loses the leader, and
// may leave processes that had lost their parent before: see [ErrKeeperLost] and
// [Cmd.AdoptOrphans].
//
// On Linux (amd64, arm64) helpers are forks of the owner that execute nothing, if the
// owner has at most 16 MiB of its own in memory. Else, and under pidns, they are the
// running program once more, which takes on its role before main.
//
// The package installs no signal handler, and reaps only what it has started,
// unless Cmd.AdoptOrphans asks for more. When a run is over it leaves no goroutine,
// except one that reads what a process writes that was kept on request
// ([LeftoverPolicy]).
//
// # Beyond os/exec
//
//   - For functions of other packages that want an *exec.Cmd, and start and kill it
//     themselves, there is [Contain].
//   - A [Scope] holds what several commands leave, until it is closed or the owner dies.
//   - [Cmd.Keep] and [Cmd.AllowDetach] let go of single processes.
//   - To let a command outlive the owner, use [DetachLeftovers] or, as under os/exec,
//     Process.Release: see [Cmd.Process].
//   - A command can have a terminal of its own: see [PTY].
//   - What a run may use can be bounded: see [Limits].
//   - A run can end with something outside it: see [Lifeline].
package corral
