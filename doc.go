// Package corral runs commands and leaves nothing of them behind: it replaces
// os/exec by changing one word.
//
// What a run can promise depends on its containment. Rows marked * are not
// built yet.
//
//	containment  where                 can escape while the owner lives    owner gets SIGKILL
//	job*         Windows               nothing started by a member         the kernel kills all
//	cgroup*      Linux                 a privileged member                 the guard stops all
//	keeper*      Linux, FreeBSD        nothing                             the keeper stops all
//	keeper*      macOS                 setsid + double fork                the keeper stops what it knows
//	pidns*       Linux, on request     nothing                             the kernel kills all
//	group        Linux, macOS, FreeBSD setsid                              leader only, on Linux and FreeBSD
//
// Auto takes the strongest that works here, and every Report names the
// containment obtained and the stronger ones that were not to be had.
package corral
