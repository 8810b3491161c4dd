// Package corral runs commands and leaves nothing of them behind: it replaces
// os/exec by changing one word.
//
// A run is a command, its leader, and everything that it starts, its members.
// When the leader has ended, what is alive of the others is a leftover, and is
// stopped (or kept, or an error: see [LeftoverPolicy]). When the run's time or
// context ends, or [Cmd.Stop] is called, all members are stopped, by the steps
// of a [StopPlan] and in the end by force. [Cmd.Report] says what happened.
//
// What can be promised depends on the containment, the kernel mechanism that
// knows the members. Those marked * are not built yet.
//
//	containment  where                  can escape, owner alive  owner gets SIGKILL
//	job*         Windows                nothing                  the kernel kills all
//	cgroup*      Linux                  a privileged member      the guard stops all
//	keeper*      Linux, FreeBSD         nothing                  the keeper stops all
//	keeper*      macOS                  setsid and double fork   the keeper stops what it knows
//	pidns*       Linux, on request      nothing                  the kernel kills all
//	group        Linux, FreeBSD         setsid, setpgid          only the leader is killed
//	group        macOS                  setsid, setpgid          nothing is killed
//
// The owner is the program that uses this package. [Auto] takes the strongest
// containment that works here; every Report names the one obtained and the
// stronger ones that were not to be had; [Cmd.Require] makes less an error.
//
// The package installs no signal handler, starts no process of its own, reaps
// nothing but the leader, and leaves no goroutine when a run is over.
package corral
