package cgroup

import (
	"context"
	"errors"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/corral-run/corral/internal/proctree"
)

// TestMoveToHeadless: they stay listed where they were when their first thread
// ended.
func TestMoveToHeadless(t *testing.T) {
	from, to := create(t), create(t)
	headless(t, from)
	start(t, from, idle)
	ok(t, from.MoveTo(to))
	populated(t, from, false)
	populated(t, to, true)
	ok(t, from.Remove())
	ok(t, to.Kill())
	empty(t, to)
}

func TestMoveToWithoutDescriptors(t *testing.T) {
	from, to := create(t), create(t)
	ok(t, from.Hold())
	ok(t, to.HoldEntry())
	c := start(t, from, idle)
	withoutDescriptors(t, 0, func() { ok(t, from.MoveTo(to)) })
	if got := members(t, to); !slices.Equal(got, pidsOf(c)) {
		t.Errorf("got %v", got)
	}
}

func TestMembers(t *testing.T) {
	d := create(t)
	low, high := start(t, d, moves), start(t, d, idle)
	zombie := start(t, d, "echo ready")
	ok(t, unix.Waitid(unix.P_PID, zombie.Process.Pid, nil, unix.WEXITED|unix.WNOWAIT, nil))
	if got, want := members(t, d), pidsOf(low, high); !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// TestMembersThreaded: a threaded cgroup does not tell its processes, but its
// threads.
func TestMembersThreaded(t *testing.T) {
	d := create(t)
	threaded := below(t, d, "threaded")
	ok(t, threaded.write("cgroup.type", "threaded"))
	c := start(t, d, "echo $$ >$D/threaded/cgroup.procs; echo ready; exec sleep 60")
	if got := members(t, d); !slices.Equal(got, pidsOf(c)) {
		t.Errorf("got %v", got)
	}
	if got := members(t, threaded); !slices.Equal(got, pidsOf(c)) {
		t.Errorf("got %v", got)
	}
	ok(t, threaded.Signal(unix.SIGCONT))
	ok(t, threaded.Kill())
	empty(t, threaded)
	start(t, d, "echo $$ >$D/threaded/cgroup.procs; echo ready; exec sleep 60")
	ok(t, d.Signal(unix.SIGTERM))
	empty(t, d)
	ok(t, d.Remove())
}

// TestMembersCanBeOpened: the fields that Members fills suffice to hold on to a
// process.
func TestMembersCanBeOpened(t *testing.T) {
	d := create(t)
	start(t, d, idle)
	rows, err := d.Members()
	ok(t, err)
	h, err := proctree.Open(rows[0].ID)
	ok(t, err)
	defer h.Close()
	ok(t, d.Kill())
	ctx, cancel := context.WithTimeout(t.Context(), soon)
	defer cancel()
	ok(t, h.Wait(ctx))
}

func TestMoveTo(t *testing.T) {
	from, to := create(t), create(t)
	children := []*child{start(t, from, moves), start(t, from, idle), start(t, from, idle)}
	ok(t, from.MoveTo(to))
	populated(t, from, false)
	if got, want := members(t, to), pidsOf(children...); !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	ok(t, from.Remove())
	if err := to.MoveTo(invalid(t, create(t))); !errors.Is(err, unix.EOPNOTSUPP) {
		t.Errorf("error %v", err)
	}
}
