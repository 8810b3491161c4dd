package escape

import (
	"syscall"
	"testing"
	"time"

	"github.com/corral-run/corral/internal/proctree"
	"golang.org/x/sys/unix"
)

var _ = check("vfork", func(tr *tree) {
	suspended, borrower := tr.row("suspended"), tr.row("borrower")
	if borrower.PPID != suspended.PID || borrower.Threads != 1 {
		tr.Errorf("not a child of %d: %+v", suspended.PID, borrower)
	}
	if suspended.State != proctree.Disk || suspended.Threads < 2 {
		tr.Errorf("in state %c with %d threads", suspended.State, suspended.Threads)
	}
	const vm = 1 // KCMP_VM
	other, _, errno := unix.Syscall6(unix.SYS_KCMP, uintptr(suspended.PID), uintptr(borrower.PID), vm, 0, 0, 0)
	switch {
	case errno == unix.ENOSYS || errno == unix.EPERM:
		tr.Logf("SKIPPED: whether the memory is shared: %v", errno)
	case errno != 0 || other != 0:
		tr.Errorf("compare the memory: %d, %v", other, errno)
	}
	for _, sig := range polite {
		if !tr.inSet(borrower.PID, "SigBlk", sig.(syscall.Signal)) {
			tr.Errorf("the borrower does not block %v", sig)
		}
	}
	tr.sendPolite("borrower")
	tr.sendPolite("suspended")
	tr.leave("suspended", "borrower")
	tr.signal("suspended", syscall.SIGKILL)
	tr.expect("borrower")
})

// TestLoanEnds: the suspended outlives the borrower with which it shared its stack.
func TestLoanEnds(t *testing.T) {
	tr := start(t, find(t, "vfork"))
	tr.signal("borrower", syscall.SIGKILL)
	tr.leave("suspended")
	// It may not have got to its next system call yet.
	for tr.row("suspended").State != proctree.Sleeping {
		if tr.ctx.Err() != nil {
			t.Fatalf("in state %c", tr.row("suspended").State)
		}
		time.Sleep(time.Millisecond)
	}
	tr.sendPolite("suspended")
	tr.expect("suspended")
	tr.signal("suspended", syscall.SIGKILL)
	tr.expect()
}
