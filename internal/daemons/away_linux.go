package daemons

import (
	"bytes"

	"github.com/corral-run/corral/internal/proctree"
	"golang.org/x/sys/unix"
)

// away reports whether a process has gone into the background as a daemon does, with
// a session of its own (setsid(2)), which has no terminal. Both are the kernel's word
// (proc_pid_stat(5), fields 6 and 7).
func away(id proctree.ID) bool {
	b, err := proctree.ReadFile(id.PID, "stat")
	if err != nil || !proctree.Same(id) {
		return false
	}
	const terminalAt = 4 // after the name in parentheses
	fields := bytes.Fields(b[bytes.LastIndexByte(b, ')')+1:])
	if len(fields) <= terminalAt || string(fields[terminalAt]) != "0" {
		return false
	}
	row, err := proctree.Brief(id.PID)
	own, serr := unix.Getsid(0)
	return err == nil && serr == nil && row.ID == id && row.SID != own
}
