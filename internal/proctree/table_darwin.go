package proctree

import "golang.org/x/sys/unix"

// parentRecycled: the kernel keeps parent PIDs up to date and copies the table
// under a lock. Start times, which go by a clock that can be set back, must not
// break a tie of blood.
const parentRecycled = false

const everyProcess = "kern.proc.all"

func rows(name string, args ...int) ([]Process, error) {
	b, err := sysctl(name, args...)
	if err != nil {
		return nil, err
	}
	table, err := parseDarwin(b)
	for i := range table {
		// The row has but the address of the session in the kernel.
		if sid, err := unix.Getsid(table[i].PID); err == nil {
			table[i].SID = sid
		}
	}
	return table, err
}

// arguments returns nil for zombies, and for processes of other users unless
// the caller is root: the kernel does not tell.
func arguments(pid int) []string {
	b, err := sysctl("kern.procargs2", pid)
	if err != nil {
		return nil
	}
	args, err := parseProcargs2(b)
	if err != nil {
		return nil
	}
	return args
}

func descendants(pid int) ([]Process, error) { return descendantsByTable(pid) }
