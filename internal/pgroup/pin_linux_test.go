package pgroup

import (
	"testing"

	"github.com/corral-run/corral/internal/pgroup/pgtest"
)

// TestPinUnreaped: a pin holds until its process is reaped, with a pidfd and
// without.
func TestPinUnreaped(t *testing.T) {
	tree := pgtest.Start(t, pgtest.Spec{})
	byPidfd, err := newPin(tree.PID)
	if err != nil {
		t.Fatal(err)
	}
	defer byPidfd.close()
	pins := map[string]*pin{"pidfd": byPidfd, "start time": {id: tree.IDs[0], fd: -1}}
	for step, want := range []bool{true, true, false} {
		switch step {
		case 1:
			tree.Kill(t, 0)
			tree.Ended(t, 0)
		case 2:
			tree.Reap()
		}
		for name, pin := range pins {
			if pin.unreaped() != want {
				t.Errorf("%s: unreaped is %v after step %d (alive, a zombie, reaped)", name, !want, step)
			}
		}
	}
}
