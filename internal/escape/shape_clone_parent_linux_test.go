package escape

import (
	"os"
	"syscall"
)

var _ = check("clone-parent", func(tr *tree) {
	if row := tr.row("sibling"); row.PPID != os.Getpid() || row.SID != row.PID {
		tr.Errorf("not a child of this process in a session of its own: %+v", row)
	}
	tr.leave("sibling")
	// It is a child of this process, which os/exec does not know.
	sibling := tr.all("sibling")[0].PID
	tr.signal("sibling", syscall.SIGKILL)
	syscall.Wait4(sibling, nil, 0, nil)
	tr.expect()
})
