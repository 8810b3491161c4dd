package escape

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/corral-run/corral/internal/proctree"
)

// checks say of each child whether it is what its Doc claims.
var checks = make(map[string]func(*tree))

// check adds to them, as add adds to the children.
func check(name string, f func(*tree)) bool {
	checks[name] = f
	return true
}

// find returns the child of a name, and skips the test if there cannot be one.
func find(t *testing.T, name string) Child {
	t.Helper()
	all := All()
	c := all[slices.IndexFunc(all, func(c Child) bool { return c.Name == name })]
	if err := c.Unavailable(); err != nil {
		t.Skip("SKIPPED:", err)
	}
	return c
}

func TestShapes(t *testing.T) {
	for _, c := range All() {
		t.Run(c.Name, func(t *testing.T) {
			StartBystander(t) // one for all would not live long enough on a slow machine
			check := checks[c.Name]
			if check == nil {
				t.Fatal("nothing checks it")
			}
			tr := start(t, find(t, c.Name))
			if len(tr.ready) != c.Members || tr.row("leader").PID != tr.leader.Process.Pid {
				t.Errorf("leader %d, members %v", tr.leader.Process.Pid, tr.ready)
			}
			for _, m := range tr.ready {
				if !strings.Contains(c.Doc, `"`+m.Role+`"`) && m.Role != "leader" {
					t.Errorf("the Doc does not mention the %s", m.Role)
				}
			}
			check(tr)
		})
	}
}

var _ = check("plain", func(tr *tree) {
	leader, child := tr.row("leader"), tr.row("child")
	if child.PPID != leader.PID || child.PGID != leader.PID || child.SID != leader.SID {
		tr.Errorf("not in the leader's group and session: %+v", child)
	}
	tr.leave("child")
	tr.signal("child", syscall.SIGTERM)
	tr.expect()
})

var _ = check("ignore-term", func(tr *tree) {
	if n := len(tr.all("ignorer")); n != ignorers {
		tr.Errorf("%d ignorers, want %d", n, ignorers)
	}
	for _, m := range tr.all("ignorer") {
		for _, sig := range polite {
			if !tr.ignores(m, sig.(syscall.Signal)) {
				tr.Errorf("%v does not ignore %v", m, sig)
			}
		}
	}
	tr.Release()
	tr.waitLeader()
	tr.expect("ignorer")
	if n := len(tr.Survivors()); n != ignorers {
		tr.Errorf("%d ignorers are left, want %d", n, ignorers)
	}
})

var _ = check("setsid", func(tr *tree) {
	leader, session := tr.row("leader"), tr.row("session")
	if session.SID != session.PID || session.PGID != session.PID || session.PPID != leader.PID {
		tr.Errorf("does not lead a session: %+v", session)
	}
	tr.leave("session")
})

var _ = check("daemon", func(tr *tree) {
	if dir := tr.proc(tr.checkOrphan("daemon"), "cwd"); dir != "/" {
		tr.Errorf("it is in %s", dir)
	}
	tr.leave("daemon")
})

var _ = check("hold-stdout", func(tr *tree) {
	leader, holder := tr.row("leader"), tr.row("holder")
	if theirs, ours := tr.proc(holder, "fd/1"), tr.proc(leader, "fd/1"); theirs != ours || !strings.HasPrefix(ours, "pipe:") {
		tr.Errorf("the holder has %s, the leader %s", theirs, ours)
	}
	tr.leave("holder")
	// Without a writer it would be end-of-file.
	tr.stdout.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
	if _, err := tr.stdout.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		tr.Errorf("read the leader's output: %v", err)
	}
	tr.signal("holder", syscall.SIGTERM)
	tr.stdout.SetReadDeadline(time.Time{})
	if _, err := tr.stdout.Read(make([]byte, 1)); err != io.EOF {
		tr.Errorf("read the leader's output without the holder: %v", err)
	}
})

var _ = check("close-fds", func(tr *tree) {
	closer := tr.row("closer")
	if open := tr.pipes(closer.PID); len(open) > 0 {
		tr.Errorf("these are open: %v", open)
	}
	tr.leave("closer")
	select {
	case <-tr.gone:
	case <-tr.ctx.Done():
		tr.Error("the oracle is held")
	}
	ctx, cancel := context.WithTimeout(tr.ctx, 10*time.Millisecond)
	defer cancel()
	if err := tr.Gone(ctx); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("closer (%d)", closer.PID)) {
		tr.Errorf("Gone does not name the closer: %v", err)
	}
})

var _ = check("chain", func(tr *tree) {
	tr.Release()
	tr.waitLeader()
	seen := tr.all("link")
	for range 20 {
		seen = append(seen, tr.next("link", seen...))
	}
	// The next one is there, so those before its parent are gone.
	for _, m := range seen[:len(seen)-2] {
		h, err := proctree.Open(m.ID)
		if err != nil {
			continue // and has been reaped
		}
		if err := h.Wait(tr.ctx); err != nil {
			tr.Error(err)
		}
		h.Close()
	}
	tr.expect("link")
})

var _ = check("respawn", func(tr *tree) {
	tr.signal("respawner", syscall.SIGTERM)
	old := tr.all("worker")
	for range 3 {
		h, err := proctree.Open(old[len(old)-1].ID)
		if err != nil {
			tr.Fatal(err)
		}
		if err := h.Signal(syscall.SIGTERM); err != nil {
			tr.Error(err)
		}
		h.Close()
		old = append(old, tr.next("worker", old...))
	}
	tr.leave("respawner", "worker")
})

var _ = check("kill-group", func(tr *tree) {
	tr.Release()
	if status := tr.waitLeader(); status.Signal() != syscall.SIGTERM {
		tr.Errorf("the leader ended with status %#x", status)
	}
	tr.expect("killer", "ignorer")
})

var _ = check("kill-parent", func(tr *tree) {
	tr.Release()
	if status := tr.waitLeader(); status.Signal() != syscall.SIGKILL {
		tr.Errorf("the leader ended with status %#x", status)
	}
	tr.expect("parricide")
})

var _ = check("wide", func(tr *tree) {
	if n := len(tr.all("child")); n != width {
		tr.Errorf("%d children, want %d", n, width)
	}
	if n := len(tr.Survivors()); n != 1+width {
		tr.Errorf("%d members, want %d", n, 1+width)
	}
	tr.leave("child")
})

var _ = check("stopped", func(tr *tree) {
	if row := tr.row("frozen"); row.State != proctree.Stopped {
		tr.Errorf("in state %c", row.State)
	}
	tr.signal("frozen", syscall.SIGHUP)
	tr.signal("frozen", syscall.SIGTERM)
	if row := tr.row("frozen"); row.State != proctree.Stopped {
		tr.Errorf("in state %c after SIGTERM", row.State)
	}
	tr.signal("frozen", syscall.SIGCONT)
	tr.expect("leader")
})

var _ = check("dead-leader", func(tr *tree) {
	if row := tr.row("headless"); row.State != proctree.Zombie || row.Threads < 2 {
		tr.Errorf("in state %c with %d threads", row.State, row.Threads)
	}
	tr.leave("headless")
	tr.signal("headless", syscall.SIGTERM)
	tr.expect()
})

// TestAsked: some also act when they are asked to end.
func TestAsked(t *testing.T) {
	for _, tt := range []struct {
		child, asked string
		leader       syscall.Signal
		survivors    []string
	}{
		{"kill-group", "killer", syscall.SIGTERM, []string{"killer", "ignorer"}},
		{"kill-parent", "parricide", syscall.SIGKILL, []string{"parricide"}},
	} {
		t.Run(tt.child, func(t *testing.T) {
			tr := start(t, find(t, tt.child))
			tr.signal(tt.asked, syscall.SIGTERM)
			if status := tr.waitLeader(); status.Signal() != tt.leader {
				t.Errorf("the leader ended with status %#x", status)
			}
			tr.expect(tt.survivors...)
		})
	}
}

func TestKillOwner(t *testing.T) {
	p := NewProbe(t, KillOwner())
	path, args, files := p.Command()
	path, args = Command("test-owner", append([]string{path}, args...)...)
	owner := exec.Command(path, args...)
	owner.ExtraFiles = files
	owner.Stderr = os.Stderr
	if err := owner.Start(); err != nil {
		t.Fatal(err)
	}
	p.Started()
	p.Ready(timeout(t, 30*time.Second))
	p.Release()
	owner.Wait()
	if status := owner.ProcessState.Sys().(syscall.WaitStatus); status.Signal() != syscall.SIGKILL {
		t.Errorf("the owner: %v", owner.ProcessState)
	}
	if err := p.Gone(timeout(t, 30*time.Second), "leader", "child"); err != nil {
		t.Error(err)
	}
}

func TestKillOwnerRefusesTest(t *testing.T) {
	r := &recorder{TB: t}
	p := NewProbe(r, KillOwner())
	tr := launch(t, p)
	p.Started()
	if status := tr.waitLeader(); status.ExitStatus() != failed {
		t.Errorf("the leader ended with status %#x", status)
	}
	<-p.ready
	if said := r.end(); !strings.Contains(said, fmt.Sprintf("refuse to kill process %d,", os.Getpid())) {
		t.Errorf("said %q", said)
	}
}
