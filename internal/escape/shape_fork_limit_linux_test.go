package escape

import (
	"syscall"

	"github.com/corral-run/corral/internal/proctree"
)

var _ = check("fork-limit", func(tr *tree) {
	table, err := proctree.Snapshot()
	if err != nil {
		tr.Fatal(err)
	}
	forked := len(proctree.Children(table, tr.row("forker").PID))
	tr.Logf("%d processes", forked)
	if forked < mostForks/4 || forked > mostForks {
		tr.Errorf("%d processes, want %d to %d", forked, mostForks/4, mostForks)
	}
	tr.sendPolite("forker")
	tr.leave("forker")
	tr.signal("forker", syscall.SIGKILL)
	tr.expect()
})
